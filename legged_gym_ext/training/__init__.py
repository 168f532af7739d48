"""Training: runner, run folders, checkpoints, evaluation, teacher against student."""
