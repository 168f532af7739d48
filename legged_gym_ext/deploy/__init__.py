"""Exported policies: the file, the loop that runs it, and the robots it runs on. Only export/ needs torch."""
