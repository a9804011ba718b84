"""Credits bought over HTTP by an unmodified x402 client, on real contracts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scrip.chain import Chain
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.shop import Till, header, till_of
from tests.integration.system import System, account

UNITS = 50_000
PRICE = 100_000
"""Dollar base units that UNITS cost."""


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def till(place: OracleLab) -> Till:
    made = till_of(place)
    made.start()
    return made


def test_buy__stock_client__gets_credits_for_exactly_the_price(till: Till) -> None:
    before = till.tokens(till.buyer.address)
    answer = till.buy(till.credits_url(UNITS))
    assert answer.status_code == 200, answer.text
    bought = answer.json()
    assert (bought["stage"] in ("delivered", "done"), bought["units"], bought["amount"]) == (
        True,
        str(UNITS),
        str(PRICE),
    )
    assert till.credits(till.buyer.address) == UNITS
    assert till.tokens(till.buyer.address) == before - PRICE
    assert till.tokens(account("oracle").address) == 0
    told = header(answer, "PAYMENT-RESPONSE")
    assert (
        told["success"] and told["transaction"] == bought["paymentTx"] and told["payer"] == till.buyer.address
    )
    assert till.get(answer.headers["Location"]).json()["settled"] is True
