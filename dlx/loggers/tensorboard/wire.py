"""Encode protobuf messages and wrap them in TFRecords: length, checksum, bytes, checksum."""

import struct
from functools import cache, lru_cache
from typing import Any

import numpy as np

Value = bytes | str | float | int | bool

BLOCK = 256  # bytes of which the checksum is computed at a time


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


def encode_float(number: float) -> bytes:
    """Encode a number as float32; one beyond it becomes infinite."""
    with np.errstate(over="ignore"):
        return np.float32(number).tobytes()


@cache
def byte_table() -> np.ndarray:  # (BLOCK, 256) uint32
    """Return at [d, b] what a byte b followed by d bytes adds (xor) to a CRC-32C, which is linear in its input."""
    table = np.empty((BLOCK, 256), np.uint32)
    table[0] = np.arange(256)
    for _ in range(8):
        table[0] = (table[0] >> 1) ^ (table[0] & 1) * np.uint32(0x82F63B78)  # the Castagnoli polynomial, reflected
    for d in range(1, BLOCK):
        table[d] = (table[d - 1] >> 8) ^ table[0, table[d - 1] & 255]
    return table


@cache
def _register_table() -> list[list[int]]:
    """Return what each byte of the register, the low one first, adds to it a block later."""
    table: list[list[int]] = byte_table()[:-5:-1].tolist()
    return table


def compute_crc32c(data: bytes) -> int:
    """Return the CRC-32C register after at least four bytes, before the final inversion."""
    padded = np.zeros(-(-len(data) // BLOCK) * BLOCK, np.uint8)  # leading zeros leave a register of zero alone
    message = padded[len(padded) - len(data) :]
    message[:] = np.frombuffer(data, np.uint8)
    message[:4] ^= 255  # the register starts as all ones
    blocks, distance = padded.reshape(-1, BLOCK), np.arange(BLOCK)[::-1]
    first, second, third, fourth = _register_table()
    state = 0
    for start in range(0, len(blocks), BLOCK):
        added = np.bitwise_xor.reduce(byte_table()[distance, blocks[start : start + BLOCK]], axis=1)
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
def encode_length(length: int) -> bytes:
    """Return how a TFRecord begins: its length, with a checksum."""
    size = struct.pack("<Q", length)
    return size + struct.pack("<I", mask_checksum(compute_crc32c(size)))


def encode_record(data: bytes) -> bytes:
    """Wrap `data`, of at least four bytes, in a TFRecord."""
    return encode_length(len(data)) + data + struct.pack("<I", mask_checksum(compute_crc32c(data)))
