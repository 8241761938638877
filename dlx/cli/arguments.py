"""Words of a command line that may begin with a file and go on with overrides."""

from pathlib import Path


def split_input(words: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """The input, and the overrides: the first word is the input unless it reads like an override and is no file."""
    if words and ("=" not in words[0] or Path(words[0]).exists()):
        return Path(words[0]), words[1:]
    return None, words
