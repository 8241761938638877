"""Make pictures as tensors, and figures with matplotlib."""
