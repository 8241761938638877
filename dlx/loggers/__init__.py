"""Where a run's measurements go: JSON lines and TensorBoard."""
