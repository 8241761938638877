"""The training loop and what belongs to it: evaluation, checkpoints, the batch size, pictures."""
