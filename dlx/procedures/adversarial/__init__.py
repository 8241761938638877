"""Adversarial learning."""
