"""Write TensorBoard's event files without TensorBoard.

A file is a sequence of TFRecords (length, checksum, bytes, checksum), each holding one `Event` protobuf message.
Scalars, by far the most, are laid out by numpy a block at a time; everything else is encoded field by field. Field
numbers are those of TensorBoard's event.proto, summary.proto, tensor.proto and hparams/plugin_data.proto.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Point = tuple[str, int, float, float]  # tag, step (below 2³⁵), seconds since 1970, value
Value = bytes | str | float | int | bool

_BLOCK = 256  # bytes of which the checksum is computed at a time
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


# -- protobuf's wire format and the records' checksum ----------------------------------------------------------------


def encode_varint(number: int) -> bytes:
    """Encode an integer as protobuf does, seven bits a byte, the low ones first."""
    number &= (1 << 64) - 1  # negative ones are written as 64 bits
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: Value) -> bytes:
    """Encode a protobuf field: text and messages with their length, floats as doubles, ints and bools as varints."""
    if isinstance(value, float):
        return encode_varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return encode_varint(number << 3) + encode_varint(value)
    data = value.encode() if isinstance(value, str) else value
    return encode_varint(number << 3 | 2) + encode_varint(len(data)) + data


@cache
def _byte_table() -> np.ndarray:  # (_BLOCK, 256) uint32
    """Return at [d, b] what a byte b followed by d bytes adds (xor) to a CRC-32C, which is linear in its input."""
    table = np.empty((_BLOCK, 256), np.uint32)
    table[0] = np.arange(256)
    for _ in range(8):
        table[0] = (table[0] >> 1) ^ (table[0] & 1) * np.uint32(0x82F63B78)  # the Castagnoli polynomial, reflected
    for d in range(1, _BLOCK):
        table[d] = (table[d - 1] >> 8) ^ table[0, table[d - 1] & 255]
    return table


@cache
def _register_table() -> list[list[int]]:
    """Return what each byte of the register, the low one first, adds to it a block later."""
    table: list[list[int]] = _byte_table()[:-5:-1].tolist()
    return table


def _crc32c_state(data: bytes) -> int:
    """Return the CRC-32C register after at least four bytes, before the final inversion."""
    padded = np.zeros(-(-len(data) // _BLOCK) * _BLOCK, np.uint8)  # leading zeros leave a register of zero alone
    message = padded[len(padded) - len(data) :]
    message[:] = np.frombuffer(data, np.uint8)
    message[:4] ^= 255  # the register starts as all ones
    blocks, distance = padded.reshape(-1, _BLOCK), np.arange(_BLOCK)[::-1]
    first, second, third, fourth = _register_table()
    state = 0
    for start in range(0, len(blocks), _BLOCK):
        added = np.bitwise_xor.reduce(_byte_table()[distance, blocks[start : start + _BLOCK]], axis=1)
        for own in added.tolist():
            state = own ^ first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]
    return state


def mask_checksum(state: Any) -> Any:
    """Turn the register (int or uint32 array) into TFRecord's checksum: invert, rotate by 15 bits, add a constant."""
    if isinstance(state, int):
        state ^= 0xFFFFFFFF
        return ((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF
    state = ~state
    return (state >> 15 | state << 17) + np.uint32(0xA282EAD8)


@lru_cache(4096)
def _encode_length(length: int) -> bytes:
    size = struct.pack("<Q", length)
    return size + struct.pack("<I", mask_checksum(_crc32c_state(size)))


def encode_record(data: bytes) -> bytes:
    """Wrap `data`, of at least four bytes, in a TFRecord."""
    return _encode_length(len(data)) + data + struct.pack("<I", mask_checksum(_crc32c_state(data)))


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
        purge_step: of a resumed run: TensorBoard drops what earlier files hold from this step on.
        append: add to the files of a finished run: TensorBoard keeps all that they hold.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, directory: Path, purge_step: int | None = None, append: bool = False) -> None:
        earlier = sorted(directory.glob("events.out.tfevents.*"))
        now = int(time.time())
        if earlier:  # TensorBoard reads a run's files in the order of their names
            now = max(now, int(earlier[-1].name.split(".")[3]) + 1)
        self.path = directory / f"events.out.tfevents.{now:010d}.{socket.gethostname()}.{os.getpid()}"
        self._heads: dict[str, tuple[bytes, int]] = {}
        self._file = self.path.open("xb")
        self._event(field(3, "brain.Event:2"), step=0)
        if purge_step is not None:
            for path in earlier:
                _drop_records(path, b"_hparams_/")  # else TensorBoard shows the first session's
        if not append:  # SessionLog.status = START. The second and later ones purge, so the first file needs one too.
            self._event(field(7, field(1, 1)), step=purge_step or 0)
        self.flush()

    def scalars(self, points: Sequence[Point]) -> None:
        """Write points, in any order."""
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
        state = np.bitwise_xor.reduce(_byte_table()[np.arange(_TAIL_BYTES)[::-1], covered], axis=1)
        tail["checksum"] = mask_checksum(state ^ np.array([start for _, start in heads], np.uint32))
        tails = tail.view(f"V{_TAIL.itemsize}").tolist()
        self._file.write(
            b"".join([part for (head, _), rest in zip(heads, tails, strict=True) for part in (head, rest)])
        )

    def has_curve(self, tag: str) -> bool:
        """Return whether the file has a point of a tag."""
        return tag in self._heads

    def _head(self, tag: str) -> tuple[bytes, int]:
        """Return the start of every record of a tag, and the checksum's register for it with a tail of zeros."""
        name = field(1, tag)
        value = encode_varint(1 << 3 | 2) + encode_varint(len(name) + 5) + name + bytes([2 << 3 | 5])
        summary = encode_varint(5 << 3 | 2) + encode_varint(len(value) + 4) + value
        head = _encode_length(len(summary) + _TAIL_BYTES) + summary
        self._heads[tag] = head, _crc32c_state(summary + bytes(_TAIL_BYTES))
        return self._heads[tag]

    def image(self, tag: str, png: bytes, size: tuple[int, int, int], step: int) -> None:
        """Write a PNG; `size` is (channels, height, width)."""
        channels, height, width = size
        self._summary(tag, field(4, field(1, height) + field(2, width) + field(3, channels) + field(4, png)), step)

    def histograms(self, protos: Mapping[str, bytes], step: int) -> None:
        """Write HistogramProtos by their tags, as `dlx.loggers.tensorboard.histogram` encodes them."""
        values = [field(1, field(1, tag) + field(5, proto)) for tag, proto in protos.items()]
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
        self._summary(f"_hparams_/{name}", empty + _encode_metadata("hparams", info), step=0)

    def _summary(self, tag: str, value: bytes, step: int) -> None:
        self._event(field(5, field(1, field(1, tag) + value)), step)

    def _event(self, content: bytes, step: int) -> None:
        self._file.write(encode_record(field(1, time.time()) + field(2, step) + content))

    def flush(self) -> None:
        """Pass everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def _drop_records(path: Path, needle: bytes) -> None:
    """Rewrite an event file without the records that contain `needle`, and without a truncated last one."""
    data = path.read_bytes()
    kept, at = [], 0
    while at + 12 <= len(data):
        end = at + 16 + int.from_bytes(data[at : at + 8], "little")
        if end > len(data):
            break
        if data.find(needle, at, end) < 0:
            kept.append(data[at:end])
        at = end
    whole = b"".join(kept)
    if len(whole) < len(data):
        aside = path.with_name(f".{path.name}.new")
        aside.write_bytes(whole)
        aside.replace(path)
