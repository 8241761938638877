"""Run every learner of a deep-learning course by one command."""

__version__ = "0.1.0"
