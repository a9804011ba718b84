"""What a buyer asks for: a template of the provider's catalogue and its parameters.

Only the hash of a spec goes on chain (`JobTerms.spec_hash`), so its encoding must be canonical.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from eth_utils.crypto import keccak

from scrip.errors import BadInput

_DEEPEST = 32
_MOST_INT = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class JobSpec:
    """`template` names an entry of the catalogue, `params` its parameters (plain JSON, no floats)."""

    template: str
    params: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.template, str) or not self.template:
            raise BadInput("spec.template", self.template, "a non-empty string")
        if not isinstance(self.params, Mapping):
            raise BadInput("spec.params", self.params, "an object")
        canonical_json(self.params)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON object, the one that is hashed."""
        return {"params": dict(self.params), "template": self.template}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput for missing or unknown keys."""
        if not isinstance(data, Mapping) or set(data) != {"template", "params"}:
            raise BadInput("spec", data, "an object with exactly the keys template and params")
        return cls(template=data["template"], params=data["params"])


def canonical_json(obj: object) -> bytes:
    """Canonical bytes of a JSON value: sorted keys, no spaces, ASCII only.

    Raises BadInput for what isn't portable across languages: floats, integers beyond +-(2**53 - 1), lone
    surrogates; and for keys that aren't strings, values that JSON doesn't have, nesting deeper than 32.
    """
    _check(obj, "json", 0)
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=dict)
    return text.encode("ascii")


def spec_hash(spec: JobSpec) -> bytes:
    """keccak256 of the spec's canonical JSON (32 bytes); `JobTerms.spec_hash`."""
    return bytes(keccak(canonical_json(spec.to_json())))


def _check(obj: object, path: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise BadInput(path, "deeper nesting", f"nested at most {_DEEPEST} deep")
    if isinstance(obj, Mapping):
        for key, value in obj.items():
            if not isinstance(key, str):
                raise BadInput(path, key, "an object whose keys are strings")
            _check(key, f"{path} key", depth)
            _check(value, f"{path}.{key}", depth + 1)
    elif isinstance(obj, (list, tuple)):
        for index, value in enumerate(obj):
            _check(value, f"{path}[{index}]", depth + 1)
    elif isinstance(obj, str):
        _check_text(obj, path)
    elif isinstance(obj, int):
        if abs(obj) > _MOST_INT:
            raise BadInput(path, obj, f"an integer within +-{_MOST_INT} (send larger ones as text)")
    elif obj is not None:
        raise BadInput(path, obj, "null, a boolean, an integer, a string, a list or an object (no floats)")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(path, text, "valid Unicode (no lone surrogates)") from error
