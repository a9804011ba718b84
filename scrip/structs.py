"""Base of the dataclasses that mirror Solidity structs.

A subclass annotates each field with one of the aliases below, in Solidity order. From that the base derives
validation at construction, the ABI tuple and the JSON form, so no struct spells its fields out twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from enum import IntEnum
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Self, get_type_hints

from scrip.errors import BadInput
from scrip.words import checksummed

Uint8 = Annotated[int, "uint8"]
Uint16 = Annotated[int, "uint16"]
Uint32 = Annotated[int, "uint32"]
Uint40 = Annotated[int, "uint40"]
Uint64 = Annotated[int, "uint64"]
Uint96 = Annotated[int, "uint96"]
Uint128 = Annotated[int, "uint128"]
Uint256 = Annotated[int, "uint256"]
Bool = Annotated[bool, "bool"]
Text = Annotated[str, "string"]
Address = Annotated[str, "address"]
Bytes12 = Annotated[bytes, "bytes12"]
Bytes20 = Annotated[bytes, "bytes20"]
Bytes32 = Annotated[bytes, "bytes32"]
Bytes = Annotated[bytes, "bytes"]
BytesList = Annotated[tuple[bytes, ...], "bytes[]"]
Bytes32List = Annotated[tuple[bytes, ...], "bytes32[]"]

ZERO_ADDRESS = "0x" + "00" * 20
ZERO_BYTES32 = bytes(32)

_HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*\Z")
_DECIMAL = re.compile(r"[0-9]{1,78}\Z")

_Column = tuple[str, str, Any]
_COLUMNS: dict[type[Any], tuple[_Column, ...]] = {}  # derived once per class, reflection is slow
_TYPES: dict[type[Any], tuple[str, ...]] = {}
_Check = tuple[Callable[[Any], bool], _Column]
_CHECKS: dict[type[Any], tuple[_Check, ...]] = {}
_JsonColumn = tuple[str, str, Callable[[Any], Any]]
_JSON_COLUMNS: dict[type[Any], tuple[_JsonColumn, ...]] = {}
_TO_ABI: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {}


class Struct:
    """Validation and conversion shared by all mirrored structs. Subclasses are frozen slots dataclasses."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for is_plain, (name, sol, kind) in _checks(type(self)):
            value = getattr(self, name)
            if not is_plain(value):
                value = coerce(f"{type(self).__name__}.{name}", sol, kind, value)
                object.__setattr__(self, name, value)

    def to_abi(self) -> tuple[Any, ...]:
        """Field values in Solidity order, nested structs as tuples, as web3 and eth_abi take them."""
        return _to_abi(type(self))(self)

    @classmethod
    def from_abi(cls, values: Sequence[Any]) -> Self:
        """Inverse of `to_abi`; takes a tuple or list as web3 returns it."""
        columns = _columns(cls)
        if len(values) != len(columns):
            raise BadInput(cls.__name__, f"{len(values)} values", f"{len(columns)} values")
        return cls(*values)

    def to_json(self) -> dict[str, Any]:
        """JSON object with the Solidity field names; integers as decimal strings, bytes as 0x hex."""
        return {key: convert(getattr(self, name)) for key, name, convert in _json_columns(type(self))}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput for missing or unknown keys and values out of range."""
        if not isinstance(data, Mapping):
            raise BadInput(cls.__name__, data, "an object")
        columns = {camel(name): (name, sol, kind) for name, sol, kind in _columns(cls)}
        if set(data) != set(columns):
            odd = sorted(map(str, set(data) ^ set(columns)))
            raise BadInput(f"keys of {cls.__name__}", odd, f"exactly {sorted(columns)}")
        values = {
            name: _from_json(f"{cls.__name__}.{name}", sol, kind, data[key])
            for key, (name, sol, kind) in columns.items()
        }
        return cls(**values)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema of `to_json`. It has no range of decimal text, so a number's range isn't part of it."""
        rows = {camel(name): _schema(sol, kind) for name, sol, kind in _columns(cls)}
        return {
            "title": cls.__name__,
            "type": "object",
            "properties": rows,
            "required": list(rows),
            "additionalProperties": False,
        }

    @classmethod
    def abi_types(cls) -> tuple[str, ...]:
        """Solidity types of the fields, in order; a nested struct appears as a parenthesised list."""
        return _types(cls)

    @classmethod
    def type_string(cls) -> str:
        """EIP-712 type string, e.g. "Receipt(bytes32 jobId,uint8 outcome,...)" (flat structs only)."""
        return f"{cls.__name__}(" + ",".join(f"{sol} {camel(name)}" for name, sol, _ in _columns(cls)) + ")"


@cache
def camel(name: str) -> str:
    """Solidity spelling of a Python field name: max_units -> maxUnits."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def to_address(field: str, value: object) -> str:
    """Checksum form of a 20-byte address. A mixed-case address with a wrong checksum raises BadInput."""
    if isinstance(value, str) and _HEX_ADDRESS.match(value):
        body = value[2:]
        if body in (body.lower(), body.upper()) or checksummed(value) == value:
            return checksummed(value)
        raise BadInput(field, value, "an address with a valid checksum", "Check for a mistyped character")
    raise BadInput(field, value, "an address: 0x and 40 hex digits")


def to_bytes(field: str, value: object, size: int | None = None) -> bytes:
    """Bytes of a 0x hex text or a bytes-like value, of exactly `size` bytes if given."""
    if isinstance(value, str) and _HEX.match(value):
        raw = bytes.fromhex(value[2:])
    elif isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
    else:
        raise BadInput(field, value, "bytes or 0x hex text")
    if size is not None and len(raw) != size:
        raise BadInput(field, raw, f"exactly {size} bytes")
    return raw


def to_int(field: str, value: object, bits: int = 256) -> int:
    """`value` if it is an unsigned integer of `bits` bits (never a bool or a float), otherwise BadInput."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(field, value, "an integer")
    if not 0 <= value < 1 << bits:
        raise BadInput(field, value, f"between 0 and 2**{bits} - 1")
    return value


def coerce(field: str, sol: str, kind: Any, value: object) -> Any:
    """Normalised value of a field of Solidity type `sol`, or BadInput."""
    if sol == "tuple":
        return value if isinstance(value, kind) else kind.from_abi(_sequence(field, value))
    if sol.endswith("[]"):
        return tuple(coerce(field, sol[:-2], bytes, item) for item in _sequence(field, value))
    if sol == "address":
        return to_address(field, value)
    if sol == "bool":
        if not isinstance(value, bool):
            raise BadInput(field, value, "true or false")
        return value
    if sol == "string":
        return _text(field, value)
    if sol.startswith("bytes"):
        return to_bytes(field, value, int(sol[5:]) if sol != "bytes" else None)
    number = to_int(field, value, int(sol[4:]))
    return _enum(field, kind, number) if issubclass(kind, IntEnum) else number


def _columns(cls: type[Any]) -> tuple[_Column, ...]:
    """(name, Solidity type, Python type) of each field, in order."""
    if cls not in _COLUMNS:
        hints = get_type_hints(cls, include_extras=True)
        _COLUMNS[cls] = tuple(_column(field, hints[field.name]) for field in fields(cls))
    return _COLUMNS[cls]


def _json_columns(cls: type[Any]) -> tuple[_JsonColumn, ...]:
    """(Solidity name, Python name, what makes JSON of a value) of each field."""
    if cls not in _JSON_COLUMNS:
        _JSON_COLUMNS[cls] = tuple(
            (camel(name), name, _JSON.get(sol.rstrip("0123456789"), _json_value))
            for name, sol, _ in _columns(cls)
        )
    return _JSON_COLUMNS[cls]


def _to_abi(cls: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """What makes `Struct.to_abi` of a struct. One of plain fields alone has them as they are."""
    if cls not in _TO_ABI:
        names = tuple(name for name, _, _ in _columns(cls))
        plain = len(names) > 1 and all(kind in (int, bool, str, bytes) for _, _, kind in _columns(cls))
        _TO_ABI[cls] = (
            attrgetter(*names)
            if plain
            else lambda given: tuple(_abi_value(getattr(given, name)) for name in names)
        )
    return _TO_ABI[cls]


def _types(cls: type[Any]) -> tuple[str, ...]:
    if cls not in _TYPES:
        _TYPES[cls] = tuple(
            "(" + ",".join(_types(kind)) + ")" if sol == "tuple" else sol for _, sol, kind in _columns(cls)
        )
    return _TYPES[cls]


def _checks(cls: type[Any]) -> tuple[_Check, ...]:
    """Each field, after what says that a value of it needs no `coerce`."""
    if cls not in _CHECKS:
        _CHECKS[cls] = tuple((_plain(sol, kind), (name, sol, kind)) for name, sol, kind in _columns(cls))
    return _CHECKS[cls]


def _plain(sol: str, kind: Any) -> Callable[[Any], bool]:
    if kind is int and sol.startswith("uint"):
        size = int(sol[4:])
        return lambda value: type(value) is int and not value >> size
    if kind is bytes and sol.startswith("bytes") and sol[5:].isdecimal():
        length = int(sol[5:])
        return lambda value: type(value) is bytes and len(value) == length
    return lambda value: False


def _column(field: Field[Any], hint: Any) -> _Column:
    if hasattr(hint, "__metadata__"):
        return field.name, hint.__metadata__[0], hint.__origin__
    if issubclass(hint, IntEnum):
        return field.name, "uint8", hint
    return field.name, "tuple", hint


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadInput(field, value, "text")
    return value


def _sequence(field: str, value: object) -> Sequence[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise BadInput(field, value, "a list")
    return value


def _enum(field: str, kind: type[IntEnum], number: int) -> IntEnum:
    try:
        return kind(number)
    except ValueError as error:
        known = ", ".join(f"{item.value} {item.name}" for item in kind)
        raise BadInput(field, number, f"one of {known}") from error


def _schema(sol: str, kind: Any) -> dict[str, Any]:
    if sol == "tuple":
        nested: dict[str, Any] = kind.json_schema()
        return nested
    if sol.endswith("[]"):
        return {"type": "array", "items": _schema(sol[:-2], bytes)}
    if sol == "bool":
        return {"type": "boolean"}
    if sol == "string":
        return {"type": "string"}
    if sol == "address":
        return {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
    if sol.startswith("bytes"):
        count = f"{{{int(sol[5:])}}}" if sol != "bytes" else "*"
        return {"type": "string", "pattern": f"^0x([0-9a-fA-F]{{2}}){count}$"}
    return {"type": "string", "pattern": "^[0-9]{1,78}$", "description": f"{sol} as decimal text"}


def _abi_value(value: Any) -> Any:
    if isinstance(value, Struct):
        return value.to_abi()
    if isinstance(value, IntEnum):
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def _json_value(value: Any) -> Any:
    if isinstance(value, Struct):
        return value.to_json()
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, bytes):
        return _hex(value)
    return [_json_value(item) for item in value]


def _decimal(value: int) -> str:
    return str(int(value))


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


_JSON: dict[str, Callable[[Any], str]] = {"uint": _decimal, "bytes": _hex}


def _from_json(field: str, sol: str, kind: Any, value: object) -> Any:
    if sol == "tuple":
        return kind.from_json(value)
    if sol.startswith("uint"):
        # A JSON number would be rounded by JavaScript on its way.
        if not isinstance(value, str) or not _DECIMAL.match(value):
            raise BadInput(field, value, "a decimal integer as text")
        return int(value)
    return value
