"""Pictures as tensors, and figures drawn with matplotlib."""
