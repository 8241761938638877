"""Log a run's measurements to JSON lines and TensorBoard."""
