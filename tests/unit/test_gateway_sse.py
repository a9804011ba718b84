"""Events cut out of a stream, however it comes in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.gateway.errors import UpstreamFailed
from oracle.gateway.sse import Parser, event

STREAM = b': ping\n\ndata: {"a":1}\n\nevent: x\r\nid: 4\r\ndata:two\r\ndata: lines\r\n\r\ndata: [DONE]\n\n'
FOUND = [b'{"a":1}', b"two\nlines", b"[DONE]"]


@given(st.sets(st.integers(0, len(STREAM))))
def test_feed__any_pieces__same_events(cuts: set[int]) -> None:
    parser, edges = Parser(), [0, *sorted(cuts), len(STREAM)]
    found = [item for a, b in pairwise(edges) for item in parser.feed(STREAM[a:b])]
    assert found == FOUND


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 101, b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60])
def test_feed__endless_event__is_refused(piece: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="more than 100 bytes"):
        Parser(100).feed(piece)


def test_feed__many_short_events__no_limit() -> None:
    assert len(Parser(100).feed(event(b"x" * 90) * 50)) == 50


def test_event__name_and_data__is_read_back() -> None:
    assert Parser().feed(event(b"{}", "scrip.receipt")) == [b"{}"]
