"""Exported policies in plain MuJoCo, without torch and without the training environment."""
