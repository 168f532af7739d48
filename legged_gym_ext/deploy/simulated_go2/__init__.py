"""A simulated Go2 that exchanges the real one's messages."""
