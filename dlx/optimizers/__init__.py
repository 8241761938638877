"""Optimizers that torch lacks, and the shortest way to the ones that it has."""
