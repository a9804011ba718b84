"""The metadata that a class carries on chain, out of its data URI."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from typing import Any

from scrip.errors import BadInput

PREFIX = "data:application/json;base64,"


def decode(uri: str) -> dict[str, Any]:
    """The JSON object of a `data:` URI as `ClassMetadata` builds it. Raises BadInput."""
    if not uri.startswith(PREFIX):
        raise BadInput("class metadata", uri, f"a URI that begins with {PREFIX}")
    try:
        data = json.loads(b64decode(uri[len(PREFIX) :], validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise BadInput("class metadata", str(error), "JSON in base64") from None
    if not isinstance(data, dict):
        raise BadInput("class metadata", type(data).__name__, "a JSON object")
    return data
