"""What a data set holds, before anything trains on it."""
