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
from dlx.datasets.dataset import Dataset
from dlx.datasets.sequences.padding import pad_sequences
from dlx.datasets.splits import Part, Split
from dlx.datasets.tables.delimited import read_text
from dlx.errors import UsageError
from dlx.types import Count, Fraction

CONLL_U_COLUMNS = 10
UNKNOWN = "<unk>"  # every word that the training part does not have
DOCUMENT_START = "-DOCSTART-"  # CoNLL-2003's line between documents
# CoNLL-U's ids, https://universaldependencies.org/format.html: of a word; of several that are written as one (1-2), and
# of a word that is not written (5.1).
WORD_ID = re.compile(r"\d+")
OTHER_ID = re.compile(r"\d+-\d+|\d+\.\d+")
NON_BLANKS = r"[^ \t\r]+"  # other white space, such as a narrow one between thousands, is part of a word


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
    fitted = ("n_columns",)

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
        self.n_columns = 2  # columns of the training file

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> Mapping[str, Part]:
        path = files.require_path(self.path, "dataset.path", "FILE.conll")
        by_split = self._split_sentences(self._read_sentences(path))
        for name, given in (("val", self.val_path), ("test", self.test_path)):
            if given is not None:
                by_split[name] = self._read_sentences(files.require_path(given, f"dataset.{name}_path", "FILE.conll"))
        longest = max(len(sentence) for part in by_split.values() for sentence in part)
        if self.is_fitted and self.shape is not None:
            longest = max(longest, self.shape[0])
            self._check_tags(by_split)
        else:
            self.names = sorted({word.tag for part in by_split.values() for sentence in part for word in sentence})
            self.n_columns = max(word.columns for sentence in by_split["train"] for word in sentence)
            # Words of the training part alone: what the others have besides is as unknown as it will be in the wild.
            counts = Counter(self._normalize_word(word.text) for sentence in by_split["train"] for word in sentence)
            self.vocabulary = [UNKNOWN, *sorted(form for form, count in counts.items() if count >= self.least)]
            rare = sum(count for count in counts.values() if count < self.least)
            if rare:
                self.note(
                    f"{path}: {rare} of {counts.total()} words of the training part occur fewer than {self.least} "
                    f"times and are {UNKNOWN}; type dataset.least=1 to keep them"
                )
        tags = {name: i for i, name in enumerate(self.names or [])}
        parts: dict[str, Part] = {}
        for name, sentences in by_split.items():
            y, _ = pad_sequences(
                [torch.tensor([tags[word.tag] for word in sentence]) for sentence in sentences], longest
            )
            self._note_unknown(sentences, str(path) if name == "train" else f"the {name} part")
            parts[name] = replace(self._make_split(sentences, longest), y=y)
        return parts

    def _note_unknown(self, sentences: Sequence[Sequence[Word]], what: str) -> None:
        """Note how many words of a part, or of a file to be tagged, the vocabulary does not have."""
        known = set(self.vocabulary or [])
        words = [self._normalize_word(word.text) for sentence in sentences for word in sentence]
        unknown = [word for word in words if word not in known]
        if unknown and what != str(self.path):
            some = files.format_some(list(dict.fromkeys(unknown)))
            self.note(f"{what}: {len(unknown)} of {len(words)} words are {UNKNOWN} to the training part ({some})")
        changed = sum(word.text != self._normalize_word(word.text) for sentence in sentences for word in sentence)
        if changed:
            self.note(f"{what}: dataset.lower=true put {changed} of {len(words)} words into lower case")

    def _check_tags(self, by_split: Mapping[str, Sequence[Sequence[Word]]]) -> None:
        words = (word for part in by_split.values() for sentence in part for word in sentence)
        strange = next((word for word in words if word.tag not in (self.names or [])), None)
        if strange is not None:
            raise UsageError(
                f"{self.source}: the word {strange.text!r} has the tag {strange.tag!r}; the data that was trained on "
                f"has {', '.join((self.names or [])[:20])}"
            )

    def inputs(self, path: Path) -> Split:
        """Read sentences from a file of words, with tags, which are passed over, or without; or a text, one a line."""
        sentences = self._read_untagged(path)
        self._note_unknown(sentences, str(path))
        return self._make_split(sentences)

    def steps(self, path: Path) -> list[list[str]]:
        """Return the words of its sentences."""
        return [[word.text for word in sentence] for sentence in self._read_untagged(path)]

    def _read_untagged(self, path: Path) -> list[list[Word]]:
        """Read sentences to be tagged: of columns, or of a text with one on each line."""
        text = read_text(path, self.encoding, "FILE.conll")
        lines = [words for line in text.split("\n") if (words := re.findall(NON_BLANKS, line))]
        if "\t" in text or self._is_columnar(lines):
            if "\t" not in text:
                self.note(f"{path}: taken for one word a line; a line that is a sentence has another number of words")
            return self._read_sentences(path, tagged=False)
        self.note(f"{path}: taken for a text of one sentence a line; put a tab between a word and its tag if not")
        return [[Word(word, "") for word in words] for words in lines]

    def _is_columnar(self, lines: Sequence[Sequence[str]]) -> bool:
        """Return whether each line holds one word: alone, or in the training file's columns, its tag known or missing.

        Sentences may happen to be equally long; then they are rarely as long as that file has columns.
        """
        counts = {len(cells) for cells in lines}
        if counts <= {1} or len(counts) > 1 or len(lines) == 1:
            return counts <= {1}
        number = counts.pop()
        known = number == self.n_columns and any(cells[self.tag] in (self.names or ()) for cells in lines)
        return known or number == self.n_columns - 1

    def _hold_out(self, parts: Mapping[str, Part]) -> Mapping[str, Part]:
        return parts

    def _split_sentences(self, sentences: list[list[Word]]) -> dict[str, list[list[Word]]]:
        """Divide the sentences of one file among the splits that have no file of their own."""
        generator = torch.Generator().manual_seed(self.seed)
        rest = [sentences[i] for i in torch.randperm(len(sentences), generator=generator).tolist()]
        by_split = {}
        for name, path, share in (("test", self.test_path, self.test), ("val", self.val_path, self.val)):
            if path is None and share > 0 and len(rest) > 1:
                taken = min(max(round(share * len(rest)), 1), len(rest) - 1)
                by_split[name], rest = rest[:taken], rest[taken:]
        if self.limit is not None and self.limit < len(rest):
            self.note(
                f"{self.path}: dataset.limit={self.limit} left out {len(rest) - self.limit} of {len(rest)} training "
                "sentences"
            )
        return {"train": rest[: self.limit], **by_split}

    def _normalize_word(self, word: str) -> str:
        return word.lower() if self.lower else word

    def _make_split(self, sentences: list[list[Word]], longest: int | None = None) -> Split:
        index = {word: i for i, word in enumerate(self.vocabulary or [])}
        symbols = [
            torch.tensor([index.get(self._normalize_word(word.text), 0) for word in sentence]) for sentence in sentences
        ]
        x, lengths = pad_sequences(symbols, longest)
        return Split(x, lengths=lengths)

    def _read_sentences(self, path: Path, tagged: bool = True) -> list[list[Word]]:
        lines = read_text(path, self.encoding, "FILE.conll").split("\n")
        commented = any("\t" in line for line in lines)  # CoNLL-U, whose comments have no tab
        rows: list[tuple[int, list[str]]] = []  # line, cells; no cells where a sentence ends
        documents = comments = 0
        for number, line in enumerate(lines, 1):
            tabs = "\t" in line if self.delimiter == "auto" else self.delimiter == "tab"
            cells = [cell.strip(" \r") for cell in line.split("\t")] if tabs else re.findall(NON_BLANKS, line)
            if not any(cells):
                rows.append((number, []))
            elif cells[0] == DOCUMENT_START:
                documents += 1
            elif commented and line.startswith("#") and "\t" not in line:
                comments += 1
            else:
                rows.append((number, cells))
        for count, kind in ((documents, DOCUMENT_START), (comments, "comments, which begin with #")):
            if count:
                self.note(f"{path}: {count} of {len(lines)} lines passed over: {kind}")
        sentences: list[list[Word]] = [[]]
        for number, cells in self._drop_other_ids(rows, path):
            if cells:
                sentences[-1].append(self._parse_word(cells, f"{path}, line {number}", tagged))
            else:
                sentences.append([])
        filled = [sentence for sentence in sentences if sentence]
        widest = max((word.columns for sentence in filled for word in sentence), default=0)
        used = {self.word % widest, *([self.tag % widest] if tagged else [])} if widest else set()
        if len(used) < widest:
            unused = ", ".join(str(column) for column in range(widest) if column not in used)
            self.note(f"{path}: of {widest} columns, {unused} (counted from 0) are not read")
        if not filled:
            raise UsageError(f"{path} holds no sentences; needed: a word and its tag on each line")
        return filled

    def _drop_other_ids(self, rows: list[tuple[int, list[str]]], path: Path) -> list[tuple[int, list[str]]]:
        """Drop the lines of CoNLL-U that are no words: ranges of them, and empty nodes. Other files stay as they are.

        Raises:
            UsageError: the words are looked for in the column of the ids.
        """
        filled = [cells for _, cells in rows if cells]
        is_word = [bool(WORD_ID.fullmatch(cells[0])) for cells in filled]
        has_ids = filled and all(w or OTHER_ID.fullmatch(c[0]) for w, c in zip(is_word, filled, strict=True))
        if not has_ids or len(filled[0]) < 3:
            return rows
        if all(self.word % len(cells) == 0 for cells in filled):
            if {len(cells) for cells in filled} == {CONLL_U_COLUMNS}:
                raise UsageError(
                    f"{path} is of CoNLL-U, whose column 0 counts the words, and dataset.word={self.word} was given; "
                    "type dataset.word=1 dataset.tag=3"
                )
            return rows
        ranges = sum("-" in cells[0] for cells in filled)
        empty = len(filled) - sum(is_word) - ranges
        dropped = [
            f"{count} {kind}{'' if count == 1 else 's'} ({example})"
            for count, kind, example in ((ranges, "range", "ids such as 1-2"), (empty, "empty node", "ids such as 5.1"))
            if count
        ]
        if dropped:
            self.note(f"{path}: {' and '.join(dropped)} passed over: only whole ids are words")
        return [(number, cells) for number, cells in rows if not cells or WORD_ID.fullmatch(cells[0])]

    def _parse_word(self, cells: Sequence[str], where: str, tagged: bool) -> Word:
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
