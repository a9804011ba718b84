"""What the lines of an audit file hold: one table, for the check of a line and for the published schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scrip.errors import BadInput, ScripError
from scrip.hashing import keccak
from scrip.structs import Struct
from scrip.types import JobTerms, Receipt
from scrip.types_spending import SessionTerms

VERSION: Final = 1
START: Final = "0x" + "00" * 32
"""What stands in a file's first line for the hash of a line before it."""
MAX_LINE: Final = 4 * 2**20
"""Bytes of a line: a batch of receipts as large as a block takes has far fewer."""
CONTRACTS: Final = (
    "ComputeCredits", "CreditReserve", "JobMarket", "MeteredSessions", "ProviderRegistry", "ReceiptVerifier",
)  # fmt: skip
"""Contracts that a file is of."""

PATTERNS: Final = {
    "number": r"^(0|[1-9][0-9]{0,77})$",
    "address": r"^0x[0-9a-fA-F]{40}$",
    "bytes32": r"^0x[0-9a-f]{64}$",
    "bytes": r"^0x([0-9a-f]{2})*$",
}


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value, or null where the chain's node doesn't show it."""

    shape: Any


@dataclass(frozen=True, slots=True)
class Table:
    """An object of values by number."""

    shape: Any


class Malformed(ScripError):
    """A line isn't what the schema says."""


_SIGNED: Final = {"signer": "address", "signature": "bytes"}
_PLACE: Final = {"block": "number", "txHash": "bytes32", "logIndex": "number"}
_SETTLED: Final = _PLACE | {
    "blockHash": "bytes32", "time": "number", "class": "number", "payer": "address", "budget": "number",
    "units": "number", "paid": "number",
}  # fmt: skip
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "header": {
        "version": VERSION, "chainId": "number", "contracts": dict.fromkeys(CONTRACTS, "address"),
        "fromBlock": "number", "fromBlockHash": "bytes32",
    },
    "attestation": {
        "digest": "bytes32", "batch": bool, "receipts": ["bytes32"], "provider": _SIGNED,
        "watchers": [_SIGNED],
    },
    "job": _SETTLED | {
        "provider": "address", "job": "bytes32", "nonce": "number", "terms": JobTerms,
        "receiptHash": "bytes32", "receipt": Maybe(Receipt), "submission": _PLACE,
        "signed": Maybe("bytes32"),
    },
    "session": _SETTLED | {
        "provider": "address", "session": "bytes32", "terms": SessionTerms, "cumulative": "number",
        "voucher": Maybe({"authorised": "number", "signature": "bytes", "contract": bool}),
    },
    "reclaim": _SETTLED,
    "seal": {
        "toBlock": "number", "toBlockHash": "bytes32", "settlements": "number", "burned": Table("number"),
        "signature": Maybe(_SIGNED),
    },
}  # fmt: skip
"""Members of each type of line, beside `type` and `previous`."""
SETTLEMENTS: Final = ("job", "session", "reclaim")


def encode(line: Mapping[str, Any]) -> bytes:
    """Canonical bytes of a line, as hashed and written: JSON with sorted keys, no spaces, ASCII only."""
    return json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(raw: bytes) -> dict[str, Any]:
    """Inverse of `encode` for untrusted bytes. Raises Malformed."""
    if len(raw) > MAX_LINE:
        raise Malformed(f"{len(raw)} bytes, at most {MAX_LINE}")
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error!s:.100}") from None
    kind = line.get("type") if isinstance(line, dict) else None
    if not isinstance(kind, str) or kind not in SHAPES:
        raise Malformed(f"type {kind!r:.40} is none of {', '.join(SHAPES)}")
    _check(kind, members(kind), line)
    if encode(line) != raw:
        raise Malformed("not written in the canonical form (sorted keys, no spaces, no member twice)")
    found: dict[str, Any] = line
    return found


def digest_of(raw: bytes) -> str:
    """Hash of a line's bytes, which the next line carries."""
    return "0x" + keccak(raw).hex()


def members(kind: str) -> dict[str, Any]:
    """All members of a type of line."""
    return {"type": kind, "previous": "bytes32"} | SHAPES[kind]


def _check(at: str, shape: Any, value: Any) -> None:
    if isinstance(shape, Maybe):
        if value is not None:
            _check(at, shape.shape, value)
    elif isinstance(shape, dict):
        if not isinstance(value, dict) or set(value) != set(shape):
            odd = sorted(map(str, set(value) ^ set(shape))) if isinstance(value, dict) else []
            raise Malformed(f"{at} must have exactly {', '.join(shape)}; missing or odd: {', '.join(odd)}")
        for key, inner in shape.items():
            _check(f"{at}.{key}", inner, value[key])
    elif isinstance(shape, list):
        _each(at, shape[0], value, list)
    elif isinstance(shape, Table):
        _each(at, shape.shape, value, dict)
        for key in value:
            _check(f"{at} key", "number", key)
    elif isinstance(shape, type) and issubclass(shape, Struct):
        _check_struct(at, shape, value)
    else:
        _check_plain(at, shape, value)


def _each(at: str, shape: Any, value: Any, kind: type[list[Any]] | type[dict[str, Any]]) -> None:
    if not isinstance(value, kind):
        raise Malformed(f"{at} must be {'a list' if kind is list else 'an object'}")
    rows = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in rows:
        _check(f"{at}.{key}", shape, inner)


def _check_struct(at: str, shape: type[Struct], value: Any) -> None:
    try:
        same = shape.from_json(value).to_json() == value
    except BadInput as error:
        raise Malformed(f"{at}: {error}") from None
    if not same:
        raise Malformed(f"{at} isn't written in the canonical form")


def _check_plain(at: str, shape: Any, value: Any) -> None:
    if shape is bool or shape == VERSION or shape in SHAPES:
        ok = isinstance(value, bool) if shape is bool else type(value) is type(shape) and value == shape
    else:
        ok = isinstance(value, str) and re.fullmatch(PATTERNS[shape], value) is not None
    if not ok:
        raise Malformed(f"{at} {value!r:.80} is no {shape}")


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of a Scrip audit file, version {VERSION}",
        "$comment": "The form only; docs/audit.md has the meaning and the checks. "
        "Written by scripts/audit_files.py.",
        "oneOf": [_schema(members(kind)) for kind in SHAPES],
    }


def _schema(shape: Any) -> dict[str, Any]:
    if isinstance(shape, Maybe):
        return {"anyOf": [_schema(shape.shape), {"type": "null"}]}
    if isinstance(shape, dict):
        return {
            "type": "object",
            "properties": {key: _schema(inner) for key, inner in shape.items()},
            "required": list(shape),
            "additionalProperties": False,
        }
    if isinstance(shape, list):
        return {"type": "array", "items": _schema(shape[0])}
    if isinstance(shape, Table):
        names = {"pattern": PATTERNS["number"]}
        return {"type": "object", "propertyNames": names, "additionalProperties": _schema(shape.shape)}
    if isinstance(shape, type):
        return shape.json_schema() if issubclass(shape, Struct) else {"type": "boolean"}
    return {"type": "string", "pattern": PATTERNS[shape]} if shape in PATTERNS else {"const": shape}
