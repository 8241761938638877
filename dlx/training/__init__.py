"""The training loop, evaluation, checkpoints, the search for a batch size, and pictures."""
