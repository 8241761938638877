"""Write TensorBoard's event files without TensorBoard.

A file is a sequence of TFRecords (length, checksum, bytes, checksum), each holding one `Event` protobuf message.
Scalars, by far the most, are laid out by numpy a block at a time; everything else is encoded field by field. Field
numbers are those of TensorBoard's event.proto, summary.proto, tensor.proto and hparams/plugin_data.proto.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlx.loggers.tensorboard.earlier import HPARAMS, Earlier
from dlx.loggers.tensorboard.wire import (
    byte_table,
    compute_crc32c,
    encode_float,
    encode_length,
    encode_record,
    encode_varint,
    field,
    mask_checksum,
)

Point = tuple[str, int, float, float]  # tag, step (below 2³⁵), seconds since 1970, value
# The end of every scalar's record, so that only the beginning depends on the tag. Field order is free.
_TAIL = np.dtype(
    [
        ("value", "<f4"),  # Summary.Value.simple_value; its key is the last byte before the tail
        ("time_key", "u1"),
        ("time", "<f8"),  # Event.wall_time
        ("step_key", "u1"),
        ("step", "u1", 5),  # Event.step, a varint padded to five bytes: 35 bits
        ("checksum", "<u4"),
    ]
)
_TAIL_BYTES = _TAIL.itemsize - 4  # covered by the checksum


# -- the messages ------------------------------------------------------------------------------------------------------


def _encode_metadata(plugin: str, content: bytes = b"") -> bytes:
    """Encode Summary.Value.metadata: which of TensorBoard's plugins shows the value."""
    return field(9, field(1, field(1, plugin) + field(2, content)))


def _encode_value(value: Any) -> bytes:
    """Encode a google.protobuf.Value; anything but numbers, booleans and text becomes text."""
    if isinstance(value, bool):
        return field(4, value)
    if isinstance(value, int | float):
        return field(2, float(value))
    return field(3, str(value))


# -- the file ----------------------------------------------------------------------------------------------------------


class EventFile:
    """Appends to a new event file in a run's directory.

    Args:
        directory: of the run; it exists.
        resume_step: of a resumed run: what earlier files hold after this step is cut off, and what they hold at it
            is not written twice.
        append: add to the files of a finished run: TensorBoard keeps all that they hold.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, directory: Path, resume_step: int | None = None, append: bool = False) -> None:
        earlier = sorted(directory.glob("events.out.tfevents.*"))
        now = int(time.time())
        if earlier:  # TensorBoard reads a run's files in the order of their names
            now = max(now, int(earlier[-1].name.split(".")[3]) + 1)
        self.path = directory / f"events.out.tfevents.{now:010d}.{socket.gethostname()}.{os.getpid()}"
        self._heads: dict[str, tuple[bytes, int]] = {}
        self._file = self.path.open("xb")
        self._event(field(3, "brain.Event:2"), step=0)
        resumed = resume_step is not None
        self._earlier = Earlier(earlier if resumed else [], -1 if resume_step is None else resume_step)
        if not append:
            # SessionLog.status = START. The second and later ones have an open TensorBoard drop the steps from theirs
            # on, so the first file needs one too.
            self._event(field(7, field(1, 1)), step=0 if resume_step is None else resume_step + 1)
        self.flush()

    def scalars(self, points: Sequence[Point], again: bool = False) -> None:
        """Write points, in any order.

        Args:
            points: of any curves.
            again: also those that a resumed run's earlier files hold at this step, with another value.
        """
        if points and points[0][1] <= self._earlier.last_step and not again:
            points = [point for point in points if not self._earlier.take(point[1], point[0])]
        if not points:
            return
        tags, steps, times, values = zip(*points, strict=True)
        heads = [self._heads.get(tag) or self._head(tag) for tag in tags]
        tail = np.zeros(len(tags), _TAIL)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
            tail["value"] = values
        tail["time_key"], tail["time"] = 1 << 3 | 1, times
        tail["step_key"] = 2 << 3
        number = np.asarray(steps, np.int64)[:, None] >> np.arange(0, 35, 7)
        tail["step"] = number & 127 | [128, 128, 128, 128, 0]
        covered = tail.view(np.uint8).reshape(len(tags), -1)[:, :_TAIL_BYTES]
        state = np.bitwise_xor.reduce(byte_table()[np.arange(_TAIL_BYTES)[::-1], covered], axis=1)
        tail["checksum"] = mask_checksum(state ^ np.array([start for _, start in heads], np.uint32))
        tails = tail.view(f"V{_TAIL.itemsize}").tolist()
        self._file.write(
            b"".join([part for (head, _), rest in zip(heads, tails, strict=True) for part in (head, rest)])
        )

    def has_curve(self, tag: str, last: float) -> bool:
        """Return whether this file has a point of a tag, or those before it end with this value."""
        return tag in self._heads or self._earlier.curves.get(tag) == encode_float(last)

    def _head(self, tag: str) -> tuple[bytes, int]:
        """Return the start of every record of a tag, and the checksum's register for it with a tail of zeros."""
        name = field(1, tag)
        value = encode_varint(1 << 3 | 2) + encode_varint(len(name) + 5) + name + bytes([2 << 3 | 5])
        summary = encode_varint(5 << 3 | 2) + encode_varint(len(value) + 4) + value
        head = encode_length(len(summary) + _TAIL_BYTES) + summary
        self._heads[tag] = head, compute_crc32c(summary + bytes(_TAIL_BYTES))
        return self._heads[tag]

    def image(self, tag: str, png: bytes, size: tuple[int, int, int], step: int) -> None:
        """Write a PNG; `size` is (channels, height, width)."""
        channels, height, width = size
        self._summary(tag, field(4, field(1, height) + field(2, width) + field(3, channels) + field(4, png)), step)

    def histograms(self, protos: Mapping[str, bytes], step: int) -> None:
        """Write HistogramProtos by their tags, as `dlx.loggers.tensorboard.histogram` encodes them."""
        new = {tag: proto for tag, proto in protos.items() if not self._earlier.take(step, tag, field(5, proto))}
        if new:
            values = [field(1, field(1, tag) + field(5, proto)) for tag, proto in new.items()]
            self._event(field(5, b"".join(values)), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Write text, shown as Markdown."""
        shape = field(2, field(2, field(1, 1)))  # one string
        self._summary(tag, field(8, field(1, 7) + shape + field(8, markdown)) + _encode_metadata("text"), step)

    def graph(self, proto: bytes) -> None:
        """Write a GraphDef."""
        self._event(field(4, proto), step=0)

    def session_start(self, settings: Mapping[str, Any], started: float) -> None:
        """Write the run's hyperparameters, which begins its row of the HParams tab."""
        pairs = [field(1, field(1, name) + field(2, _encode_value(value))) for name, value in settings.items()]
        self._session("session_start_info", field(3, b"".join(pairs) + field(5, started)))

    def session_end(self, succeeded: bool) -> None:
        """Write how the run ended."""
        self._session("session_end_info", field(4, field(1, 1 if succeeded else 2) + field(2, time.time())))

    def _session(self, name: str, info: bytes) -> None:
        empty = field(8, field(1, 1) + field(2, field(2, field(1, 0))))  # a float tensor of shape (0,)
        self._summary(HPARAMS + name, empty + _encode_metadata("hparams", info), step=0)

    def _summary(self, tag: str, value: bytes, step: int) -> None:
        if not self._earlier.take(step, tag, value):
            self._event(field(5, field(1, field(1, tag) + value)), step)

    def _event(self, content: bytes, step: int) -> None:
        self._file.write(encode_record(field(1, time.time()) + field(2, step) + content))

    def flush(self) -> None:
        """Pass everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
