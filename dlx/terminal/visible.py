"""Show control characters instead of sending them: names and messages may come from a stranger's files."""

import re

# What a terminal obeys: C0 without tab and line feed, DEL, C1; and what turns a line's direction around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def make_visible(text: str) -> str:
    r"""Return text with its control characters written as in source code: `\x1b`; tabs and line feeds stay."""
    return _CONTROL.sub(_write_out, text) if _CONTROL.search(text) else text


def make_cell_visible(text: str) -> str:
    """Return text for one line: tabs and line feeds are written out too."""
    return make_visible(text).replace("\t", r"\t").replace("\n", r"\n")


def escape_json(text: str) -> str:
    """Return a JSON document without control characters; it means the same."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if _CONTROL.search(text) else text


def _write_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
