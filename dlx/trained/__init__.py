"""A trained model taken up again: predictions, samples, codes, export, a summary."""
