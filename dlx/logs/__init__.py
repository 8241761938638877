"""What a run writes and shows while it learns: curves, pictures, TensorBoard's files, the terminal."""
