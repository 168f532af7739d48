"""A simulated Go2 that speaks the real one's messages."""
