"""Runs and trained models: made, found, read back, looked at, exported."""
