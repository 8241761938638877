"""Competitive learning: prototypes among which each example finds its nearest."""
