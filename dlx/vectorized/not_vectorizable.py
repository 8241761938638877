"""Why trials are not trained together."""


class NotVectorizable(Exception):
    """Trials cannot be one stack; they run as ordinary jobs, and the message says why."""
