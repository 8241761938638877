"""Run directories: create, find and query runs, and load their configurations."""
