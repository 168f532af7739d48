"""Command-line programs: train, play, evaluate, describe."""
