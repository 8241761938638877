"""The user's own text, as sequences of characters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dlx.datasets import files
from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Part, Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Text(Dataset):
    """Consecutive pieces of a text, each a sequence of symbols (length,); the last one is padded with zeros.

    The text is cut in its own order: training, then validation, then test, so that no piece continues in another split.

    Args:
        path: of the file; a relative one is also looked for below the data folders (DLX_DATA, ./data, ~/.cache/dlx).
        length: characters of a piece.
        evaluation_length: characters of a validation or test piece; null takes `length`. The first character of a piece
            has nothing to be told by: a recurrent network is measured as it writes, without a break, by longer pieces.
        alphabet: `all` keeps every character; `letters` has 27 symbols, lower-case a to z and the space, which also
            stands for any run of other characters.
        encoding: of the file.
        root: folder that holds the data, instead of the data folders.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`; `classes` is the number of symbols.
        symbols: their number; null takes what the data has.
    """

    kind = "symbols"

    def __init__(
        self,
        path: str | None = None,
        length: Count = 64,
        evaluation_length: Count | None = None,
        alphabet: Literal["all", "letters"] = "all",
        encoding: str = "utf-8",
        root: str | None = None,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.05,
        test: Fraction = 0.05,
        limit: Count | None = None,
        symbols: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        for name, asked in (("length", length), ("evaluation_length", evaluation_length)):
            if asked == 1:
                raise UsageError(f"dataset.{name}=1 was given; needed: at least 2, a character and the one after it")
        self.symbols = symbols
        self.path, self.length, self.alphabet, self.encoding, self.root = path, length, alphabet, encoding, root
        self.evaluation_length = evaluation_length or length

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> dict[str, Split | Stream]:
        text = self._read_text(files.locate_path(self.path, "FILE.txt", self.root))
        if len(text) == 1:
            raise UsageError(
                f"{self.path} holds one character, {text!r}; needed: a text of at least two; type another path"
            )
        if not self.is_fitted:
            letters = [" ", *map(chr, range(ord("a"), ord("z") + 1))]
            self.names = sorted(set(text)) if self.alphabet == "all" else letters
        pieces = -(-len(text) // self.length)
        test, val = (max(round(share * pieces), 1) if share > 0 else 0 for share in (self.test, self.val))
        if pieces <= test + val:
            cut = f"{len(text):,} characters, which dataset.length={self.length} cuts into {pieces}"
            raise UsageError(
                f"{self.path} has {cut}; needed: {test + val + 1} pieces, {val} for validation and {test} for the "
                "test; type a smaller dataset.length, or dataset.val=0 dataset.test=0"
            )
        if self.limit is not None:
            whole, pieces = pieces, min(pieces, self.limit + val + test)
            if pieces < whole:
                self.note(f"{self.path}: dataset.limit={self.limit} left out {whole - pieces} of {whole} pieces")
        cuts = [max(pieces - test - val, 1) * self.length, max(pieces - test, 1) * self.length]
        parts = {"train": text[: cuts[0]], "val": text[cuts[0] : cuts[1]], "test": text[cuts[1] : pieces * self.length]}
        long = {"val": self.evaluation_length, "test": self.evaluation_length}
        long |= {"train": self.evaluation_length} if self.is_whole else {}
        return {name: self._split_pieces(self.encode(part), long.get(name)) for name, part in parts.items() if part}

    def _read_text(self, path: Path) -> str:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; needed: a text file; type dataset.path=FILE.txt")
        try:
            with path.open(encoding="utf-8-sig" if self.encoding == "utf-8" else self.encoding, newline="") as file:
                text = file.read()
        except (OSError, UnicodeError, LookupError) as error:
            raise UsageError(
                f"{path} cannot be read as {self.encoding} ({error}); type its encoding, as dataset.encoding=latin-1"
            ) from error
        if "\r" in text:
            self.note(f"{path}: {text.count(chr(13))} line ends of \\r\\n or \\r were read as \\n")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.alphabet == "letters":
            text = self._keep_letters(text, path)
        if not text:
            raise UsageError(f"{path} holds no text")
        return text

    def _keep_letters(self, text: str, path: Path) -> str:
        """Put text into lower case, and one space where other characters than a to z stand."""
        lower = text.lower()
        kept = "".join(c if "a" <= c <= "z" else " " for c in lower)
        others = sum(a != b for a, b in zip(lower, kept, strict=True))
        capitals = sum(c.isupper() for c in text)
        if others or capitals:
            self.note(
                f"{path}: dataset.alphabet=letters put {capitals} capitals into lower case; {others} of {len(text)} "
                "characters are no letters and became spaces, one for each run of them"
            )
        return " ".join(kept.split())

    def encode(self, text: str) -> Tensor:
        """Encode a text as symbols (characters,).

        Raises:
            UsageError: a character that the training text does not have.
        """
        index = {character: i for i, character in enumerate(self.names or [])}
        try:
            return torch.tensor([index[character] for character in text], dtype=torch.int64)
        except KeyError as error:
            raise UsageError(
                f"{error.args[0]!r} is not among the {len(index)} characters of {self.path}; "
                f"needed: some of {''.join(index)[:100]!r}"
            ) from error

    def decode(self, symbols: Tensor) -> str:
        """Decode symbols (characters,) into a text."""
        names = self.names or []
        return "".join(names[i] for i in symbols.tolist())

    def _split_pieces(self, symbols: Tensor, length: int | None = None) -> Split:
        length = length or self.length
        pieces = -(-len(symbols) // length)
        x = torch.zeros(pieces * length, dtype=torch.int64)
        x[: len(symbols)] = symbols
        lengths = torch.full((pieces,), length)
        lengths[-1] = len(symbols) - (pieces - 1) * length
        return Split(x.view(pieces, length), lengths=lengths)

    def inputs(self, path: Path) -> Split:
        return self._split_pieces(self.encode(self._read_text(path)))

    def _hold_out(self, parts: Mapping[str, Part]) -> Mapping[str, Part]:
        return parts
