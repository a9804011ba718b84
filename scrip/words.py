"""ABI encoding of values that take one 32-byte word each: numbers, addresses, bool and bytes1 to bytes32.

eth_abi does this for every type, and looks each one up each time; events, structs that are signed and job
slots hold nothing else, and there are many of them. Tests prove each codec equal to eth_abi's.
https://docs.soliditylang.org/en/latest/abi-spec.html#formal-specification-of-the-encoding
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from eth_utils.address import to_checksum_address

from scrip.errors import BadInput

WORD: Final = 32

_FALSE, _TRUE = bytes(WORD), (1).to_bytes(WORD)

Encoder = Callable[[Any], bytes]

_SIZED: Final = re.compile(r"(uint|int|bytes)([0-9]+)")


class NotWords(BadInput):
    """Bytes that aren't the encoding of these types."""

    def __init__(self, types: Sequence[str], given: object) -> None:
        super().__init__("data", given, f"the ABI encoding of ({', '.join(types)})")


def one_word(kind: str) -> bool:
    """Whether a value of this Solidity type takes exactly one word."""
    sized = _SIZED.fullmatch(kind)
    return kind in ("address", "bool") or sized is not None


def decode(types: tuple[str, ...], data: bytes) -> list[Any]:
    """Values of one-word types; addresses are checksummed. Raises NotWords."""
    if len(data) != WORD * len(types):
        raise NotWords(types, data)
    values: list[Any] = []
    for base, size, at in _places(types):
        word = data[at : at + WORD]
        if base == "uint":  # by far the most frequent, so without a call
            value = int.from_bytes(word)
            if value >> size:
                raise NotWords(types, data)
            values.append(value)
        else:
            try:
                values.append(_decoded(base, size, word))
            except ValueError:
                raise NotWords(types, data) from None
    return values


def encode(types: tuple[str, ...], values: Sequence[Any]) -> bytes:
    """The words of these values, one after the other. Raises NotWords for a value out of range."""
    try:
        return b"".join(encoder(value) for encoder, value in zip(_encoders(types), values, strict=True))
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise NotWords(types, values) from None


@lru_cache(maxsize=8_192)
def checksummed(address: str) -> str:
    """Checksum form of 0x and 40 hex digits. The same few addresses come up all the time."""
    return str(to_checksum_address(address))


@lru_cache(maxsize=256)
def _places(types: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    """Base and size of each type, and where its word begins."""
    return tuple((*_sized(kind), WORD * index) for index, kind in enumerate(types))


def _decoded(base: str, size: int, word: bytes) -> Any:
    if base == "address":
        if any(word[:12]):
            raise ValueError
        return checksummed("0x" + word[12:].hex())
    if base == "bytes":
        if any(word[size:]):
            raise ValueError
        return word[:size]
    if base == "bool":
        if word not in (_FALSE, _TRUE):
            raise ValueError
        return word == _TRUE
    value = int.from_bytes(word, signed=True)
    if not -1 << (size - 1) <= value < 1 << (size - 1):
        raise ValueError
    return value


@lru_cache(maxsize=256)
def _encoders(types: tuple[str, ...]) -> tuple[Encoder, ...]:
    return tuple(_encoder(kind) for kind in types)


def _encoder(kind: str) -> Encoder:
    if kind == "address":
        return _from_address
    if kind == "bool":
        return _from_bool
    base, size = _sized(kind)
    # By far the most frequent are without a call.
    if base == "bytes":
        return lambda value: (
            value if type(value) is bytes and len(value) == size == WORD else _from_bytes(value, size)
        )
    if base == "uint":
        return lambda value: (
            value.to_bytes(WORD)
            if type(value) is int and not value >> size
            else _from_int(value, 0, 1 << size)
        )
    return lambda value: _from_int(value, -1 << (size - 1), 1 << (size - 1))


def _sized(kind: str) -> tuple[str, int]:
    """Base and size of a type: bits of a number, bytes of bytesN, 0 for the others."""
    if kind in ("address", "bool"):
        return kind, 0
    found = _SIZED.fullmatch(kind)
    if found is None:
        raise BadInput("type", kind, "a type of one word")
    return found[1], int(found[2])


def _from_int(value: Any, low: int, high: int) -> bytes:
    if isinstance(value, bool) or not low <= value < high:
        raise ValueError
    return int(value).to_bytes(WORD, signed=low < 0)


def _from_address(value: str) -> bytes:
    raw = bytes.fromhex(value[2:])
    if len(raw) != 20:
        raise ValueError
    return raw.rjust(WORD, b"\0")


def _from_bool(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise ValueError
    return _from_int(int(value), 0, 2)


def _from_bytes(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError
    return bytes(value) if size == WORD else bytes(value).ljust(WORD, b"\0")
