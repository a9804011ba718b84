"""One watcher of three is away, slow, lies or contradicts itself, on real contracts over real HTTP: the other
two make the quorum, or the job's lock goes back. Never is a wrong receipt settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from oracle.facts import Facts
from oracle.sampling import Risk
from scrip.ballots import Equivocation
from scrip.chain import Chain
from scrip.eip712 import sign
from scrip.types import Receipt, Status
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import System, account
from tests.integration.test_oracle_watchers import one_sample, tamper
from tests.unit.bad_watchers import Voter, copying, served, slow, voting

UNITS = 1_000_000
TIMEOUT_S = 6
SHORT_S = 25
"""A deadline that leaves no time for a second try."""

BAD: dict[str, Callable[[Voter, str], Any]] = {
    "down": lambda v, _: None,
    "slow": lambda v, _: slow(v, at_once=False),
    "slow to open": lambda v, _: slow(v, at_once=True),
    "refuses everything": lambda v, _: voting(v, says=False),
    "signs garbage": lambda v, _: voting(v, says=True, cosigns=lambda _: b"\x01" * 65),
    "signs another receipt": lambda v, _: voting(v, says=True, cosigns=lambda _: sign(b"\x02" * 32, v.key)),
    "equivocates": lambda v, _: voting(v, says=False, opens=True),
    "copies a commitment": lambda v, url: copying(v, url, verbatim=True),
    "copies a seal": lambda v, url: copying(v, url, verbatim=False),
}


class Site:
    """A provider, two honest watchers and a third one from `BAD`; `threshold` of the three must sign."""

    def __init__(self, place: OracleLab, kind: str) -> None:
        self.place = place
        self.voter = Voter(account("watcher 2"), place.chain.chain_id, place.chain.address("ReceiptVerifier"))
        self._stack = ExitStack()
        app = BAD[kind](self.voter, place.watcher_urls[0])
        if app is not None:
            self._stack.enter_context(served(app, place.watcher_ports[2]))
        self.class_id = place.system.create_class(min_assurance=2, watcher_set=1)
        self.buyer = place.buy(self.class_id, UNITS)
        for number in range(2):
            place.start(f"watcher-{number}", place.watcher_settings(number))
        quorum = {"watchers": place.watcher_urls, "timeout_s": TIMEOUT_S}
        place.start("provider", place.provider_settings(quorum=quorum))

    def job(self, **terms: Any) -> bytes:
        made = self.place.terms(self.buyer, self.class_id, **terms)
        return self.place.open(self.buyer, made, self.place.quote(made))

    def balance(self) -> int:
        return self.place.chain.at().balance(self.buyer.address, self.class_id)

    def close(self) -> None:
        self.voter.free.set()
        self.place.close()
        self._stack.close()


Open = Callable[[str, int], Site]


@pytest.fixture
def site(system: System, chain: Chain, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def make(kind: str, threshold: int) -> Site:
            place = stack.enter_context(lab(system, chain, tmp_path / "lab", 3, threshold))
            made = Site(place, kind)
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_watcher_of_three__two_suffice__the_others_settle_it(site: Open, kind: str) -> None:
    made = site(kind, 2)
    job = made.job()
    made.place.wait_for([job], Status.SETTLED)
    receipt = Receipt.from_json(made.place.show(job)["receipt"])
    assert receipt.assurance == 2
    assert made.balance() == UNITS - receipt.units


@pytest.mark.parametrize("kind", ["slow to open", "refuses everything", "signs garbage", "equivocates"])
def test_one_bad_watcher_of_three__all_are_needed__the_lock_goes_back(site: Open, kind: str) -> None:
    made = site(kind, 3)
    job = made.job(
        submit_by=made.place.chain.at().time() + SHORT_S, accept_by=made.place.chain.at().time() + 10
    )
    made.place.wait_for([job], Status.CANCELLED)
    assert made.balance() == UNITS
    if kind == "equivocates":
        [shown] = httpx.get(f"{made.place.url}/equivocations", trust_env=False).json()["equivocations"]
        shown.pop("atMs")
        proof = Equivocation.from_json(shown)
        assert proof.watcher == account("watcher 2").address
        assert proof.check(*made.voter.place)


def test_forged_evidence__one_watcher_signs_anything__is_never_settled(
    site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BAD, "signs anything", lambda v, _: voting(v, says=True))
    tamper(monkeypatch, one_sample)
    made = site("signs anything", 2)
    job = made.job()
    made.place.wait_for([job], Status.CANCELLED)
    assert made.balance() == UNITS
    assert {item["check"] for item in made.place.show(job)["refusals"]} == {"evidence.root"}


# What is at stake


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=1) as made:
        yield made


STAKED = {"challenge_window": 60, "arbiter_set": 1, "stake_per_million": 6_000_000}


@pytest.mark.parametrize("missing", ["", "arbiter_set", "stake", "token"])
def test_risk__of_a_staked_class__is_price_and_stake_of_the_whole_lock(
    place: OracleLab, missing: str
) -> None:
    changes: dict[str, Any] = dict(STAKED)
    if missing == "arbiter_set":
        changes |= {"challenge_window": 0, "arbiter_set": 0, "stake_per_million": 0}
    if missing == "token":
        changes |= {"payment_token": place.system.create("DemoUSD").address}
    class_id = place.system.create_class(watcher_set=1, **changes)
    if missing != "stake":
        place.system.stake(place.provider, 10**9)
    buyer = place.system.funded("buyer")
    terms = place.terms(type("B", (), {"address": buyer.address})(), class_id, max_units=10_000)
    expected = Risk(20, 60) if not missing else Risk(0, 0)
    assert Facts(place.chain, local=True).risk(terms) == expected
