"""What a call costs: units for tokens, by a provider's rate for one model and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from scrip.errors import BadInput
from scrip.structs import to_int

PER: Final = 1_000_000
"""Tokens that a rate speaks of."""
_NAMES: Final = ("input", "cached", "output")


@dataclass(frozen=True, slots=True)
class Rate:
    """Base units of a class for 1,000,000 tokens of input, of input that was cached, and of output."""

    input: int
    cached: int
    output: int

    def __post_init__(self) -> None:
        for name in _NAMES:
            to_int(f"rate.{name}", getattr(self, name), 96)

    def units(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """Base units of a call, rounded up once. `input_tokens` includes `cached_tokens`. Raises BadInput."""
        if not 0 <= cached_tokens <= input_tokens or output_tokens < 0:
            given = (input_tokens, cached_tokens, output_tokens)
            raise BadInput("tokens", given, "counts, of which the cached are part of the input")
        fresh = input_tokens - cached_tokens
        return -((-fresh * self.input - cached_tokens * self.cached - output_tokens * self.output) // PER)

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """Base units that a call within these bounds can cost, however much of its input is cached."""
        return -((-input_tokens * max(self.input, self.cached) - output_tokens * self.output) // PER)

    def to_json(self) -> dict[str, str]:
        """Decimal text by name."""
        return {name: str(getattr(self, name)) for name in _NAMES}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput."""
        values: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if not all(isinstance(values.get(name), str) and values[name].isdecimal() for name in _NAMES):
            raise BadInput("rate", data, f"an object with {', '.join(_NAMES)} as decimal text")
        return cls(**{name: int(values[name]) for name in _NAMES})
