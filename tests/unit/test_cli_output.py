"""What is printed: exact amounts, nothing that controls a terminal, and on-chain metadata decoded."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from scrip.cli import metadata
from scrip.cli.output import Token, Tokens, clean, utc
from scrip.errors import BadInput, NodeUnavailable
from tests.unit.cli_fakes import FakeView
from tests.unit.evidence_factory import MARKET

PREFIX = metadata.PREFIX


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("https://example.org/1.json", "begins with data:application/json;base64,"),
        (PREFIX + "!!", "JSON in base64"),
        (PREFIX + b64encode(b"{").decode(), "JSON in base64"),
        (PREFIX + b64encode(b"[1]").decode(), "a JSON object"),
        (PREFIX + b64encode(b"[" * 5_000).decode(), "JSON in base64"),
    ],
    ids=["elsewhere", "not base64", "not JSON", "not an object", "too deep"],
)
def test_metadata__not_what_the_contract_builds__refused(uri: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        metadata.decode(uri)


def test_metadata__as_built__decoded() -> None:
    assert metadata.decode(PREFIX + b64encode(b'{"name":"x"}').decode()) == {"name": "x"}


@pytest.mark.parametrize(
    ("text", "lines", "shown"),
    [
        ("plain é 中", False, "plain é 中"),
        ("\x1b[2J\x07", False, "\ufffd[2J\ufffd"),
        ("a\nb\tc", False, "a\ufffdb\ufffdc"),
        ("a\nb\tc\r", True, "a\nb\tc\ufffd"),
        ("\u202egnp.exe", False, "\ufffdgnp.exe"),
        ("\x9b31m", True, "\ufffd31m"),
        ("a\u2028b", False, "a\ufffdb"),
    ],
)
def test_clean__control_characters__replaced(text: str, lines: bool, shown: str) -> None:
    assert clean(text, lines=lines) == shown


@pytest.mark.parametrize(("amount", "text"), [(0, "0 USD"), (1, "0.000001 USD"), (12_500_000, "12.5 USD")])
def test_token__amount__exact_with_symbol(amount: int, text: str) -> None:
    token = Token(MARKET, "USD", 6)
    assert token.text(amount) == text
    assert token.to_json(amount)["baseUnits"] == str(amount)


def test_tokens__token_without_symbol__counted_in_base_units() -> None:
    view: Any = FakeView()
    assert Tokens(view).at(MARKET).text(7) == f"7 base units of {MARKET}"


def test_tokens__hostile_symbol_or_decimals__harmless() -> None:
    view: Any = FakeView(tokens={MARKET: ("\x1b[31m" + "U" * 99, 255, 0)})
    token = Tokens(view).at(MARKET)
    assert (token.symbol[:2], len(token.symbol), token.decimals) == ("\ufffd[", 32, 0)


def test_tokens__node_gone__not_taken_for_a_token_without_symbol() -> None:
    class Gone(FakeView):
        def token_symbol(self, token: str) -> str:
            raise NodeUnavailable("x", "Timeout")

    view: Any = Gone()
    with pytest.raises(NodeUnavailable):
        Tokens(view).at(MARKET)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "never"), (1_760_000_000, "2025-10-09 08:53:20 UTC"), (1 << 40, "1099511627776 (unix seconds)")],
)
def test_utc__time_on_chain__readable(seconds: int, text: str) -> None:
    assert utc(seconds) == text
