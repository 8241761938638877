"""Optimizers that torch lacks, and fast updates with the ones that it has."""
