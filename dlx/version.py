"""Hold the version, which anybody may ask for."""

__version__ = "0.2.0"
