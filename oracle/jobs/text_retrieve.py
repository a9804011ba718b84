"""`text.retrieve`: the passages of a document that answer a query best, by Okapi BM25.

Score of a passage: the sum over the query's words of idf * f * (k1 + 1) / (f + k1 * (1 - b + b * l / L)),
with f how often the passage has the word, l its length and L the average length in words, idf = ln(1 + (N - n
+ 1/2) / (n + 1/2)) for n of N passages that have the word (S. Robertson and H. Zaragoza, "The Probabilistic
Relevance Framework", 2009; k1 = 1.2, b = 0.75). Computed in decimal arithmetic, whose logarithm is correctly
rounded, so that every machine gets the same ranks.

Output, JSON: `text` holds the chosen passages in the document's order, an empty line between them; `passages`
their places (`start`, `end` in characters) and `score` in millionths. Equal scores go to the earlier one.
"""

from __future__ import annotations

import sys
from collections import Counter
from decimal import Context, Decimal, localcontext
from typing import Final

from oracle.jobs.common import BadParams, Result, json_bytes, main
from oracle.jobs.params import NoSettings, RetrieveParams
from oracle.jobs.passages import Span, passages, words

K1: Final = Decimal("1.2")
B: Final = Decimal("0.75")
_MILLION: Final = 1_000_000
_DIGITS: Final = 34


def retrieve(params: RetrieveParams) -> Result:
    """Cut, score, choose."""
    spans = passages(params.document, params.words)
    if not spans:
        raise BadParams("document: blank, must hold text")
    scores = _scores([words(span.of(params.document)) for span in spans], words(params.query))
    ranked = sorted(range(len(spans)), key=lambda at: (-scores[at], at))[: params.passages]
    chosen = sorted(at for at in ranked if scores[at] > 0)
    output = {
        "passages": [_entry(spans[at], scores[at]) for at in chosen],
        "text": "\n\n".join(spans[at].of(params.document) for at in chosen),
    }
    return Result(json_bytes(output), {"passages": len(spans), "chosen": len(chosen)})


def _entry(span: Span, score: int) -> dict[str, int]:
    return {"start": span.start, "end": span.end, "score": score}


def _scores(documents: list[list[str]], query: list[str]) -> list[int]:
    """BM25 of each passage in millionths."""
    # A context of its own: the default one could be changed by whoever imports this.
    with localcontext(Context(prec=_DIGITS)):
        total = sum(len(document) for document in documents)
        average = Decimal(max(1, total)) / len(documents)
        counts = [Counter(document) for document in documents]
        wanted = sorted(set(query))
        having = {word: sum(word in count for count in counts) for word in wanted}
        idf = {word: _idf(len(documents), having[word]) for word in wanted}
        return [
            int(sum((_part(idf[word], count[word], len(document), average) for word in wanted), Decimal(0)))
            for document, count in zip(documents, counts, strict=True)
        ]


def _idf(count: int, having: int) -> Decimal:
    half = Decimal("0.5")
    return (1 + (count - having + half) / (having + half)).ln()


def _part(idf: Decimal, often: int, length: int, average: Decimal) -> Decimal:
    norm = K1 * (1 - B + B * length / average)
    return _MILLION * idf * often * (K1 + 1) / (often + norm)


if __name__ == "__main__":
    sys.exit(main(RetrieveParams, NoSettings, lambda params, _: retrieve(params)))
