"""`text.check`: how much of a text, a summary say, is backed by its sources. Whole numbers only.

Counted are content words: those that aren't among `COMMON`. One is backed if the sources have it, plurals
aside. This finds what was made up, names and figures above all; it doesn't see that a sentence of known words
says the opposite.

Output, JSON: `scoreBps`, the backed share of all content words in hundredths of a percent, rounded down (0
for a text without any); `sentences` with their place, `words`, `backed` and whether they are `supported`,
that is, backed to at least `neededBps`; `supported`, how many are; `unbacked`, the words that aren't, sorted,
at most `MOST_SHOWN`.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from oracle.jobs.common import Result, json_bytes, main
from oracle.jobs.params import CheckParams, NoSettings
from oracle.jobs.passages import Span, sentences, words

BPS: Final = 10_000
MOST_SHOWN: Final = 100
COMMON: Final = frozenset(
    words(
        """a about after again all also an and any are as at be because been before being between both but
        by can could did do does during each either else for from had has have he her here him his how i
        if in into is it its just may me might more most must my no nor not of on once one only or other
        our out over own same she should so some such than that the their them then there these they
        this those through to too under until up very was we were what when where which while who whom
        whose why will with would you your"""
    )
)


def check(params: CheckParams) -> Result:
    """Count, sentence by sentence."""
    known = frozenset(words(params.sources))
    rows = [_row(params, span, known) for span in sentences(params.claim)]
    counted, backed = sum(row["words"] for row in rows), sum(row["backed"] for row in rows)
    missing = sorted(set(_content(params.claim)) - known)[:MOST_SHOWN]
    supported = sum(row["supported"] for row in rows)
    output = {
        "scoreBps": _share(backed, counted),
        "sentences": rows,
        "supported": supported,
        "unbacked": missing,
    }
    return Result(json_bytes(output), {"words": counted, "backed": backed, "supported": supported})


def _row(params: CheckParams, span: Span, known: frozenset[str]) -> dict[str, Any]:
    content = _content(span.of(params.claim))
    backed = sum(word in known for word in content)
    supported = bool(content) and _share(backed, len(content)) >= params.needed_bps
    return {
        "start": span.start,
        "end": span.end,
        "words": len(content),
        "backed": backed,
        "supported": supported,
    }


def _content(text: str) -> list[str]:
    return [word for word in words(text) if word not in COMMON]


def _share(part: int, whole: int) -> int:
    return part * BPS // whole if whole else 0


if __name__ == "__main__":
    sys.exit(main(CheckParams, NoSettings, lambda params, _: check(params)))
