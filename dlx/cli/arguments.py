"""Split command-line words into an input file and overrides."""

from pathlib import Path


def split_input(words: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """Return the input and the overrides: the first word is an override if it looks like one and is no file."""
    if words and ("=" not in words[0] or Path(words[0]).exists()):
        return Path(words[0]), words[1:]
    return None, words
