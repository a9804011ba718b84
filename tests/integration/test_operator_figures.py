"""What the operator's page asks the chain: earnings that add up, read block by block, and who watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.facts import Facts
from oracle.operator.figures import ChainFigures
from scrip.chain import Chain
from scrip.types import Status
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import System, account

UNITS = 100_000


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=2) as made:
        yield made


def settle(place: OracleLab, class_id: int) -> None:
    """One job to its end."""
    buyer = place.buy(class_id, UNITS)
    asked = place.terms(buyer, class_id)
    job = place.open(buyer, asked, place.quote(asked))
    place.wait_for([job], Status.SETTLED)


def test_figures__jobs_settle_and_some_is_withdrawn__add_up_to_the_unit(place: OracleLab) -> None:
    class_id = place.system.create_class(price_per_million=10**12)
    token, reserve = place.chain.address("DemoUSD"), place.chain.contract("CreditReserve")
    figures = ChainFigures(Facts(place.chain, local=True), place.provider)
    figures.refresh()
    assert (figures.now.paid, figures.now.purses, figures.now.watchers) == ({}, (), {})
    assert figures.want({class_id}, {1})
    place.start_all()
    for jobs in (1, 2):
        settle(place, class_id)
        figures.refresh()
        figures.refresh()  # the same blocks again count nothing twice
        view = place.chain.at()
        (purse,) = figures.now.purses
        assert purse.waiting == purse.settled == view.earnings(place.provider, token) > 0
        settled = list(view.events("JobMarket", "JobSettled", provider=place.provider))
        assert len(settled) == jobs
        assert figures.now.paid[class_id].units == sum(int(one.args["units"]) for one in settled)
        assert figures.now.paid[class_id].amount == purse.settled
    assert not figures.want({class_id}, {1})
    names = sorted(account(f"watcher {number}").address for number in range(2))
    assert sorted(figures.now.watchers[1]) == names
    taken = purse.settled // 3
    place.stop("provider")
    place.system.send("CreditReserve", "withdraw", token, taken, place.provider, sender=place.provider)
    figures.refresh()
    (purse,) = figures.now.purses
    assert (purse.withdrawn, purse.waiting + purse.withdrawn) == (taken, purse.settled)
    assert reserve.functions.earningsOf(place.provider, token).call() == purse.waiting
