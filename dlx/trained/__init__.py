"""Use a trained model: predictions, samples, encodings, export, a summary."""
