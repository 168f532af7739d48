"""Policies away from their training: the exported file, the loop that runs it, and the robots it runs on. No torch in here."""
