"""Autoencoders: codes from which what was seen can be given back."""
