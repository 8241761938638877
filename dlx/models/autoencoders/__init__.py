"""Autoencoders: codes from which examples are reconstructed."""
