"""The error that says why trials cannot be trained as one stack."""


class NotVectorizable(Exception):
    """Raised where trials cannot be one stack: they run as ordinary jobs, and the message says why."""
