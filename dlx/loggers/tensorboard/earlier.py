"""Cut the event files of a resumed run back to its checkpoint, so that they become those of an uninterrupted run."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dlx.loggers.tensorboard.wire import compute_crc32c, encode_length, mask_checksum
from dlx.runs.atomic import write_atomically

SESSION_STARTS = b"\x3a\x02\x08\x01"  # Event.session_log, of a SessionLog whose status is START
HPARAMS = "_hparams_/"
SUMMARY_KEY = 5 << 3 | 2  # of Event.summary
TAIL_BYTES = 19  # of a point's record, as `EventFile.scalars` lays it out: value, time, step

Entry = tuple[str, bytes]  # a tag; what was logged, b"" for a number


class Earlier:
    """What the files of a run's earlier processes hold up to its checkpoint.

    Args:
        files: in the order of their names; those later than the checkpoint are cut, or removed where nothing is left.
            What another verb than training has appended stays as it is.
        last_step: the checkpoint's. What was logged after it will be logged again; so will some of what was logged at
            it: an epoch may have ended there.

    Raises:
        OSError: a file cannot be read or written.
    """

    def __init__(self, files: list[Path], last_step: int) -> None:
        self.last_step = last_step
        self.curves: dict[str, bytes] = {}  # the last value of each tag that has points
        self._at_last_step: Counter[Entry] = Counter()
        for file in files:
            self._cut(file)

    def take(self, step: int, tag: str, content: bytes = b"") -> bool:
        """Return whether what is about to be logged is in the files already; each of theirs answers for one.

        Args:
            step: steps taken so far.
            tag: of the value.
            content: of a text, a picture or a histogram as encoded; a number counts by its tag: it may be a time.
        """
        if step != self.last_step or not self._at_last_step[tag, content]:
            return False
        self._at_last_step[tag, content] -= 1
        return True

    def _cut(self, file: Path) -> None:
        data = file.read_bytes()
        if SESSION_STARTS not in data[:200]:  # `dlx visualize` appends pictures in a file without one
            return
        kept = []
        curves: dict[bytes, str] = {}  # tags by the start of their records
        for start, end in _find_records(data):
            head, tail = data[start : end - 4 - TAIL_BYTES], data[end - 4 - TAIL_BYTES : end - 4]
            values: list[Entry]
            if head in curves:  # nearly all are points of a curve seen before
                step, values = decode_step(tail), [(curves[head], b"")]
            else:
                step, values = decode_event(data[start + 12 : end - 4])
                if data[start + 12] == SUMMARY_KEY:  # a point as EventFile lays them out: the summary comes first
                    curves[head] = values[0][0]
            if (values and step > self.last_step) or any(tag.startswith(HPARAMS) for tag, _ in values):
                continue  # TensorBoard shows the first session's hyperparameters: they are written anew
            kept.append(data[start:end])
            if step == self.last_step:
                self._at_last_step.update(values)
            if head in curves:
                self.curves[curves[head]] = tail[:4]
        whole = b"".join(kept)
        if len(kept) <= 2:  # the version and the session's start, which are always kept, alone
            file.unlink()
        elif len(whole) < len(data):
            write_atomically(file, whole)


def _find_records(data: bytes) -> list[tuple[int, int]]:
    """Return where each record of an event file begins and ends, up to the first that is cut short or damaged."""
    found, at = [], 0
    while at + 16 <= len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        end = at + 16 + length
        if end > len(data) or length < 4 or data[at : at + 12] != encode_length(length):
            break
        found.append((at, end))
        at = end
    # What a power cut tore is followed by nothing, or by zeros, which are no record: only the last can be torn.
    while found and not _is_whole(data, *found[-1]):
        found.pop()
    return found


def _is_whole(data: bytes, start: int, end: int) -> bool:
    checksum: int = mask_checksum(compute_crc32c(data[start + 12 : end - 4]))
    return checksum.to_bytes(4, "little") == data[end - 4 : end]


def decode_event(data: bytes) -> tuple[int, list[Entry]]:
    """Return an event's step, and its values: the tag of each, and what was logged."""
    step, values = 0, []
    for number, value in iter_fields(data):
        if number == 2 and isinstance(value, int):
            step = value
        elif number == 5 and isinstance(value, bytes):
            values += [_decode_value(one) for key, one in iter_fields(value) if key == 1 and isinstance(one, bytes)]
    return step, values


def decode_step(tail: bytes) -> int:
    """Return the step of a point from the end of its record, a varint of five bytes."""
    return _decode_varint(tail, len(tail) - 5)[0]


def _decode_value(data: bytes) -> Entry:
    """Return a value's tag and its other fields as they were encoded; b"" for a number."""
    size, start = _decode_varint(data, 1)  # field 1, the tag, comes first
    tag, rest = data[start : start + size].decode(), data[start + size :]
    return tag, b"" if rest[:1] == bytes([2 << 3 | 5]) else rest


def iter_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: their numbers, and an integer or the bytes."""
    at = 0
    while at < len(data):
        key, at = _decode_varint(data, at)
        if key & 7 == 0:
            value, at = _decode_varint(data, at)
            yield key >> 3, value
            continue
        size, at = _decode_varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
        yield key >> 3, data[at : at + size]
        at += size


def _decode_varint(data: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
