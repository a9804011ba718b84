"""Sentences, passages and words of a text, for the `text.*` templates. PURE.

Everything is defined by code points, not by a Unicode table, so that every Python cuts a text in the same
places: a provider's result is compared with a watcher's, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Final

_END: Final = re.compile(r"[.!?](?=[ \t\r\n]|\Z)|\n[ \t]*\r?\n|\Z")
_PIECE: Final = re.compile(r"[^ \t\r\n]+")
_WORD: Final = re.compile(
    "[0-9a-z\u00c0-\u1fff\u2070-\u2fff\u3040-\ud7ff\uf900-\ufdcf\U00010000-\U0010ffff]+"
)
"""ASCII letters and digits, and what lies beyond Latin-1's punctuation except the blocks of punctuation."""
_BLANK: Final = " \t\r\n"
_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The characters themselves."""
        return text[self.start : self.end]


def words(text: str) -> list[str]:
    """The words of a text in order, lower case and without a plural's ending."""
    return [_singular(word) for word in _WORD.findall(text.translate(_LOWER))]


def sentences(text: str) -> Iterator[Span]:
    """What ends with a full stop, a question or exclamation mark, or before an empty line."""
    start = 0
    for end in _END.finditer(text):
        piece = text[start : end.end()]
        bare = piece.strip(_BLANK)
        if bare:
            first = start + len(piece) - len(piece.lstrip(_BLANK))
            yield Span(first, first + len(bare))
        start = end.end()


def passages(text: str, most: int) -> list[Span]:
    """The text in passages of whole sentences, at most `most` pieces between blanks each.

    A longer sentence is cut.
    """
    made: list[Span] = []
    held, size = None, 0
    for part, length in _parts(text, most):
        if held is not None and size + length <= most:
            held, size = Span(held.start, part.end), size + length
            continue
        if held is not None:
            made.append(held)
        held, size = part, length
    return made if held is None else [*made, held]


def _parts(text: str, most: int) -> Iterator[tuple[Span, int]]:
    """Sentences, or their parts, with how many pieces each has."""
    for sentence in sentences(text):
        pieces = [
            Span(found.start(), found.end()) for found in _PIECE.finditer(text, sentence.start, sentence.end)
        ]
        for first in range(0, len(pieces), most):
            part = pieces[first : first + most]
            yield Span(part[0].start, part[-1].end), len(part)


def _singular(word: str) -> str:
    """Harman's S stemmer (D. Harman, "How effective is suffixing?", JASIS 42, 1991)."""
    if len(word) < 4:
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word
