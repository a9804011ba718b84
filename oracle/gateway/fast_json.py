"""JSON of calls, by orjson: each token is an event to read, and most often one to write.

What orjson doesn't take and Python does, Python does: halves of surrogate pairs, which servers send where a
token ends within a character, and, to write, integers beyond 64 bits, which clients may ask with. In what a
server sends such integers are read as floats; no count of tokens is one.
"""

from __future__ import annotations

import json
from typing import Any

import orjson


def loads(data: bytes) -> Any:
    """The value of a JSON text. Raises ValueError, RecursionError."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data.decode("utf-8", "surrogatepass"))


def dumps(value: Any) -> bytes:
    """The JSON text of a value, without blanks."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()
