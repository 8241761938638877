"""Data: one file a source, splits as tensors, batches prepared on their device."""
