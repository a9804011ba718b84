"""One change of one source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A replacement of the bytes from `start` to `end` of a source.

    `ordinal` tells apart equal changes within one function. Identity is by content, not by position, so that
    it
    survives edits elsewhere in the file.
    """

    file: str
    where: str
    operator: str
    start: int
    end: int
    line: int
    original: str
    replacement: str
    ordinal: int = 0

    @property
    def id(self) -> str:
        """Ten hexadecimal digits."""
        facts = (self.file, self.where, self.operator, self.original, self.replacement, str(self.ordinal))
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:10]

    @property
    def change(self) -> str:
        """What changes, on one line."""
        before, after = (" ".join(text.split()) for text in (self.original, self.replacement))
        return f"{before} → {after}" if after not in ("", "{}") else f"removed: {before}"

    def apply(self, source: bytes) -> bytes:
        """The source with the change made."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]
