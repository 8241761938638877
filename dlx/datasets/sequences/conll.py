"""The user's own sentences, a tag at each word: files of columns, as in the shared tasks of CoNLL.

E. F. Tjong Kim Sang, S. Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking", 2000,
https://aclanthology.org/W00-0726.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from dlx.datasets import files
from dlx.datasets.dataset import Dataset, Part, Split
from dlx.datasets.sequences.padding import pad
from dlx.datasets.tables.delimited import decoded
from dlx.errors import UsageError
from dlx.types import Count, Fraction

UNKNOWN = "<unk>"  # every word that the training part does not have
DOCUMENT = "-DOCSTART-"  # CoNLL-2003's line between documents
BETWEEN_BLANKS = r"[^ \t\r]+"  # other white space, such as a narrow one between thousands, is part of a word


class Word(NamedTuple):
    """A line of a file."""

    text: str
    tag: str  # empty where only words are asked for
    columns: int = 1  # of the line


class Conll(Dataset):
    """Sentences as sequences of words (T,), with a tag for each word, padded at their ends.

    A line holds a word and its tag, and perhaps other columns; an empty line ends a sentence.

    Args:
        path: of the training file.
        val_path, test_path: of the others; null takes `val` and `test` of the sentences of `path`.
        word, tag: columns, counted from 0, or from -1 backwards.
        delimiter: of columns; `auto` takes tabs where a line has one, else any white space.
        lower: take words in lower case.
        least: words that the training part has fewer times are unknown, `<unk>`; from 2 on there is something to
            learn it by.
        encoding: of the files.
        symbols: number of words known, `<unk>` among them; null takes what the training part has.
        shape: (T,), T of the longest sentence. classes: number of tags.
        outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "symbols"

    def __init__(
        self,
        path: str | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        word: int = 0,
        tag: int = -1,
        delimiter: Literal["auto", "tab", "space"] = "auto",
        lower: bool = False,
        least: Count = 2,
        encoding: str = "utf-8",
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        symbols: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.1,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.symbols = symbols
        self.path, self.val_path, self.test_path = path, val_path, test_path
        self.word, self.tag, self.delimiter, self.lower = word, tag, delimiter, lower
        self.least, self.encoding = least, encoding
        self.width = 2  # columns of the training file

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> Mapping[str, Part]:
        path = files.existing(self.path, "dataset.path", "FILE.conll")
        found = self._divided(self._sentences(path))
        for name, given in (("val", self.val_path), ("test", self.test_path)):
            if given is not None:
                found[name] = self._sentences(files.existing(given, f"dataset.{name}_path", "FILE.conll"))
        self.names = sorted({word.tag for part in found.values() for sentence in part for word in sentence})
        self.width = max(word.columns for sentence in found["train"] for word in sentence)
        # Words of the training part alone: what the others have besides is as unknown as it will be in the wild.
        counts = Counter(self._form(word.text) for sentence in found["train"] for word in sentence)
        self.vocabulary = [UNKNOWN, *sorted(form for form, count in counts.items() if count >= self.least)]
        longest = max(len(sentence) for part in found.values() for sentence in part)
        tags = {name: i for i, name in enumerate(self.names)}
        parts: dict[str, Part] = {}
        for name, sentences in found.items():
            y, _ = pad([torch.tensor([tags[word.tag] for word in sentence]) for sentence in sentences], longest)
            parts[name] = replace(self._split(sentences, longest), y=y)
        return parts

    def inputs(self, path: Path) -> Split:
        """The sentences of a file of words, with tags, which are passed over, or without; or of a text, one a line."""
        return self._split(self._asked(path))

    def steps(self, path: Path) -> list[list[str]]:
        """The words of its sentences."""
        return [[word.text for word in sentence] for sentence in self._asked(path)]

    def _asked(self, path: Path) -> list[list[Word]]:
        """Sentences to be tagged: of columns, or of a text with one on each line."""
        text = decoded(path, self.encoding, "FILE.conll")
        lines = [words for line in text.split("\n") if (words := re.findall(BETWEEN_BLANKS, line))]
        if "\t" in text or self._columns(lines):
            return self._sentences(path, tagged=False)
        return [[Word(word, "") for word in words] for words in lines]

    def _columns(self, lines: Sequence[Sequence[str]]) -> bool:
        """Whether each line holds one word: alone, or in the training file's columns, with a tag that is known or none.

        Sentences may happen to be equally long; then they are rarely as long as that file has columns.
        """
        counts = {len(cells) for cells in lines}
        if counts <= {1} or len(counts) > 1 or len(lines) == 1:
            return counts <= {1}
        number = counts.pop()
        known = number == self.width and any(cells[self.tag] in (self.names or ()) for cells in lines)
        return known or number == self.width - 1

    def _divide(self, parts: Mapping[str, Part]) -> Mapping[str, Part]:
        return parts

    def _divided(self, sentences: list[list[Word]]) -> dict[str, list[list[Word]]]:
        """Sentences of one file for the splits that have no file of their own."""
        generator = torch.Generator().manual_seed(self.seed)
        rest = [sentences[i] for i in torch.randperm(len(sentences), generator=generator).tolist()]
        found = {}
        for name, path, share in (("test", self.test_path, self.test), ("val", self.val_path, self.val)):
            if path is None and share > 0 and len(rest) > 1:
                taken = min(max(round(share * len(rest)), 1), len(rest) - 1)
                found[name], rest = rest[:taken], rest[taken:]
        return {"train": rest[: self.limit], **found}

    def _form(self, word: str) -> str:
        return word.lower() if self.lower else word

    def _split(self, sentences: list[list[Word]], longest: int | None = None) -> Split:
        index = {word: i for i, word in enumerate(self.vocabulary or [])}
        symbols = [torch.tensor([index.get(self._form(word.text), 0) for word in sentence]) for sentence in sentences]
        x, lengths = pad(symbols, longest)
        return Split(x, lengths=lengths)

    def _sentences(self, path: Path, tagged: bool = True) -> list[list[Word]]:
        lines = decoded(path, self.encoding, "FILE.conll").split("\n")
        commented = any("\t" in line for line in lines)  # CoNLL-U, whose comments have no tab
        sentences: list[list[Word]] = [[]]
        for number, line in enumerate(lines, 1):
            tabs = "\t" in line if self.delimiter == "auto" else self.delimiter == "tab"
            cells = [cell.strip(" \r") for cell in line.split("\t")] if tabs else re.findall(BETWEEN_BLANKS, line)
            if not any(cells):
                sentences.append([])
            elif cells[0] != DOCUMENT and not (commented and line.startswith("#") and "\t" not in line):
                sentences[-1].append(self._word(cells, f"{path}, line {number}", tagged))
        found = [sentence for sentence in sentences if sentence]
        if not found:
            raise UsageError(f"{path} holds no sentences; needed: a word and its tag on each line")
        return found

    def _word(self, cells: Sequence[str], where: str, tagged: bool) -> Word:
        given = []
        for name, column in (("word", self.word), ("tag", self.tag)):
            if name == "tag" and not tagged:
                given.append("")
                continue
            if not -len(cells) <= column < len(cells) or not cells[column]:
                raise UsageError(
                    f"{where} has {len(cells)} columns ({' '.join(cells)[:40]}); dataset.{name}={column} is not there"
                )
            given.append(cells[column])
        if tagged and self.word % len(cells) == self.tag % len(cells):
            raise UsageError(
                f"{where} has one column for word and tag ({cells[self.word][:40]}); needed: two, a tab or a space "
                "between them; correct the line, or type dataset.word=… and dataset.tag=…"
            )
        return Word(given[0], given[1], len(cells))
