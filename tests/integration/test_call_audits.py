"""Audits of calls with everything real: a provider's gateway in front of llama.cpp, watchers with a llama.cpp
of their own, and verdicts on Anvil. The dishonest provider adds a tenth to the tokens of its receipts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from demo import llm_server
from demo.llm_server import LlmServer
from oracle.audits.book import OVERCLAIMED, WHOLE
from oracle.audits.brought import BRING_PATH, Brought
from oracle.audits.odds import PENALTY, AuditProblem
from oracle.audits.recount import HONEST, INFLATED, UNFIT, UNSHOWN
from oracle.audits.verdicts import SIGN_PATH, Asked
from oracle.gateway.tables import CallBodyRow
from scrip.call_receipts import SignedCallReceipt
from scrip.chain import Chain
from scrip.eip712 import sign
from scrip.eip712_sessions import overcharge_digest
from scrip.errors import NotFound, Refused
from scrip.types import Resource
from scrip.types_spending import Claim, Overcharge
from scrip.vouchers import sign_voucher
from tests.integration.audit_trial import CALLS, DEPOSIT, KEY, PRICE, STAKE, UNIT_PRICE, Inflating, Trial
from tests.integration.oracle_lab import lab
from tests.integration.system import System, account


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[LlmServer, LlmServer]]:
    """The provider's llama.cpp, and the watchers' own."""
    with llm_server.running(slots=2) as first, llm_server.running(slots=2) as second:
        yield first, second


@pytest.fixture
def trial(
    system: System, chain: Chain, tmp_path: Path, servers: tuple[LlmServer, LlmServer]
) -> Iterator[Trial]:
    with lab(system, chain, tmp_path / "lab", watchers=3, threshold=2) as place:
        class_id = system.create_class(
            resource=Resource.OUTPUT_TOKEN, max_rate=10**9, min_assurance=1, price_per_million=PRICE,
            arbiter_set=1, stake_per_million=PRICE,
        )  # fmt: skip
        system.stake(place.provider, STAKE)
        yield Trial(place, class_id, *servers)


# What is refused


def test_start__rate_at_which_adding_tokens_pays__is_refused(trial: Trial) -> None:
    with pytest.raises(AuditProblem, match=r"given 100000, must be at least 100001"):
        trial.start_watcher(0, rate_ppm=100_000)
    trial.start_watcher(0, rate_ppm=100_001)


def test_start__class_without_arbiters__is_refused(trial: Trial) -> None:
    other = trial.place.system.create_class(resource=Resource.OUTPUT_TOKEN, min_assurance=1)
    with pytest.raises(AuditProblem, match="no arbiters or no stake"):
        trial.start_watcher(0, classes=[other])


# What providers show


def test_calls__are_shown_to_parties_and_judges_alone(trial: Trial) -> None:
    gateway = trial.start_provider()
    info = trial.open(1)
    trial.buy_calls(info, 1)
    for name in (KEY, "watcher 0"):
        with trial.api(name) as client:
            (signed,) = client.calls(info.session)
            body = client.call_body(info.session, 1)
            assert b"Story 0" in body.request
            with pytest.raises(NotFound):
                client.call_body(info.session, 2)
    with trial.api("stranger") as client:
        with pytest.raises(Refused, match="watchers and arbiters of its class"):
            list(client.calls(info.session))
        with pytest.raises(Refused, match="watchers and arbiters of its class"):
            client.call_body(info.session, 1)
    with trial.api("watcher 0") as client, pytest.raises(Refused, match="may not see this"):
        client.keys(info.session)
    assert signed.receipt.total_units == gateway.accounts.view(info.session).charged


# The story


def test_tenth_added__is_caught_refunded_and_slashed__costs_more_than_it_brought(trial: Trial) -> None:
    place, gateway = trial.place, trial.start_provider()
    trial.start_watcher(0)
    trial.start_watcher(1)
    # The third one hasn't got the model.
    trial.start_watcher(2, upstreams={"another": llm_server.upstream(trial.own.url)})

    honest = trial.open(1)
    due = trial.buy_calls(honest)
    place.wait(lambda: trial.claimed(honest) == due)
    place.wait(lambda: all(trial.audited(number, honest, due) for number in range(3)))
    assert {one["check"] for number in (0, 1) for one in trial.audits(number, honest)} == {HONEST}
    assert {one["check"] for one in trial.audits(2, honest)} <= {UNFIT}
    assert (trial.penalty(honest), trial.stake(), trial.earned()) == (0, STAKE, due * UNIT_PRICE)

    calls = gateway.proxy.calls
    cheat = Inflating(calls._accounts)
    calls._accounts = cheat
    cheated = trial.open(2)
    true = trial.buy_calls(cheated)
    place.wait(lambda: trial.claimed(cheated) == true + cheat.added)
    assert cheat.added >= 3 * CALLS - 3
    place.wait(lambda: all(trial.audited(number, cheated, trial.claimed(cheated)) for number in (0, 1)))
    assert {one["check"] for n in (0, 1) for one in trial.audits(n, cheated)} == {INFLATED}
    assert {one["check"] for one in trial.audits(2, cheated)} <= {UNFIT}

    def units() -> int:
        """What both found together: who signs for another has run its calls too, and reports them next."""
        found = {one["number"]: int(one["units"]) for n in (0, 1) for one in trial.audits(n, cheated)}
        return sum(found.values())

    place.wait(lambda: 0 < trial.penalty(cheated) == PENALTY * units() * UNIT_PRICE)
    taken, gained = trial.penalty(cheated), cheat.added * UNIT_PRICE
    assert taken <= PENALTY * gained  # nobody counts more than was added
    assert trial.stake() == STAKE - taken
    # With its stake the provider has less than honest calls would have left it: by more than it gained.
    had_it_been_honest = STAKE + (due + true) * UNIT_PRICE
    assert trial.earned() + trial.stake() == had_it_been_honest + gained - taken
    assert had_it_been_honest - (trial.earned() + trial.stake()) > gained

    # Half is the payer's, more than it was overcharged; half the reporters', who share it.
    refund = trial.withdraw("buyer")
    awards = sum(trial.withdraw(name) for name in ("watcher 0", "watcher 1") if trial.award(name))
    assert awards + refund == taken
    assert abs(awards - refund) <= 2
    assert refund > gained
    assert trial.penalty(honest) == 0


def test_found_by_one_alone__waits_for_the_others__also_over_a_restart(trial: Trial) -> None:
    place, gateway = trial.place, trial.start_provider()
    calls = gateway.proxy.calls
    calls._accounts = cheat = Inflating(calls._accounts)
    trial.start_watcher(0, rate_ppm=1_000_000)
    info = trial.open(1)
    claimed = trial.buy_calls(info, 3) + cheat.added
    place.wait(lambda: trial.claimed(info) == claimed)
    place.wait(lambda: trial.audited(0, info, claimed))
    assert [one["check"] for one in trial.audits(0, info)] == [INFLATED] * 3
    assert sum(int(one["units"]) for one in trial.audits(0, info)) == cheat.added
    assert trial.penalty(info) == 0
    place.stop("watcher-0")
    trial.start_watcher(1, rate_ppm=100_001, interval_s=600)
    trial.start_watcher(0, rate_ppm=1_000_000)
    place.wait(lambda: trial.penalty(info) == PENALTY * cheat.added * UNIT_PRICE)
    # Both may have reported some: the second one draws too.
    reported = trial.award("watcher 0") + trial.award("watcher 1")
    assert reported == trial.award("buyer") == trial.penalty(info) // 2


def test_calls_that_the_provider_hides__their_buyer_brings_them(trial: Trial) -> None:
    place, gateway = trial.place, trial.start_provider()
    calls = gateway.proxy.calls
    calls._accounts = cheat = Inflating(calls._accounts)
    info = trial.open(1)
    claimed = trial.buy_calls(info, 2) + cheat.added
    place.wait(lambda: trial.claimed(info) == claimed)
    with trial.api(KEY) as client:
        signed = list(client.calls(info.session))[1]
        body = client.call_body(info.session, 2)
    with gateway.accounts.book.store.writing() as db:
        db.execute(delete(CallBodyRow))
    trial.start_watcher(0, rate_ppm=1_000_000)
    trial.start_watcher(1, rate_ppm=1_000_000)
    place.wait(lambda: trial.audited(0, info, claimed))
    assert {one["check"] for one in trial.audits(0, info)} == {UNSHOWN}

    def bring(to: int, shown: SignedCallReceipt) -> httpx.Response:
        url = place.watcher_urls[to] + BRING_PATH
        brought = Brought(info.terms, shown, body).to_json()
        return httpx.post(url, json=brought, trust_env=False, timeout=60)

    forged = SignedCallReceipt(replace(signed.receipt, output_tokens=500), signed.signature)
    assert "must be the oracle key" in bring(0, forged).json()["error"]["message"]
    for watcher in (0, 1):
        assert bring(watcher, signed).json()["check"] == INFLATED
    added = signed.receipt.output_tokens - 24
    place.wait(lambda: trial.penalty(info) == PENALTY * added * UNIT_PRICE)


def test_claimed_beyond_its_receipts__the_rest_is_an_overcharge(trial: Trial) -> None:
    place = trial.place
    trial.start_provider()
    info = trial.open(1)
    due, beyond = trial.buy_calls(info, 1), 70
    place.wait(lambda: trial.claimed(info) == due)
    contract = place.chain.address("MeteredSessions")
    voucher = sign_voucher(info.session, DEPOSIT, account(KEY), place.chain.chain_id, contract)
    row = Claim(info.terms, due + beyond, DEPOSIT, voucher.signature)
    place.system.send("MeteredSessions", "claim", row.to_abi(), sender=place.provider)
    trial.start_watcher(0)
    trial.start_watcher(1)
    place.wait(lambda: trial.penalty(info) == PENALTY * beyond * UNIT_PRICE)
    (found,) = [one for one in trial.audits(0, info) if one["number"] == WHOLE]
    assert (found["check"], found["units"]) == (OVERCLAIMED, str(beyond))


def test_provider_lost_its_store__is_not_found_guilty(trial: Trial) -> None:
    place = trial.place
    trial.start_provider()
    trial.start_watcher(0, rate_ppm=1_000_000)
    trial.start_watcher(1)
    info = trial.open(1)
    due = trial.buy_calls(info, 3)
    place.wait(lambda: trial.claimed(info) == due)
    place.wait(lambda: trial.audited(0, info, due))
    place.stop("provider")
    for file in [
        *(place.folder / "provider").glob("oracle.db*"),
        *(place.folder / "provider" / "evidence").glob("*"),
    ]:
        file.unlink()
    trial.start_provider()
    with trial.api(KEY) as client:
        client.open_session(info.terms)
        contract = place.chain.address("MeteredSessions")
        client.authorise(sign_voucher(info.session, DEPOSIT, account(KEY), place.chain.chain_id, contract))
    due += trial.buy_calls(info, 1)
    place.wait(lambda: trial.claimed(info) == due)
    place.wait(lambda: trial.audited(0, info, due))
    assert {one["check"] for one in trial.audits(0, info)} == {HONEST}
    assert trial.penalty(info) == 0


def test_one_watcher_lies__others_run_the_calls_again_and_sign_nothing(trial: Trial) -> None:
    place = trial.place
    trial.start_provider()
    trial.start_watcher(1)
    info = trial.open(1)
    due = trial.buy_calls(info, 2)
    place.wait(lambda: trial.claimed(info) == due)
    liar = account("watcher 0")
    found = Overcharge(info.session, 20, liar.address)
    message = overcharge_digest(found, place.chain.chain_id, place.chain.address("MeteredSessions"))
    asked = Asked(info.terms, 20, liar.address, (1, 2), sign(message, liar))

    def ask(body: Any) -> httpx.Response:
        url = place.watcher_urls[1] + SIGN_PATH
        return httpx.post(url, json=body, trust_env=False, timeout=60)

    refused = ask(asked.to_json())
    assert refused.status_code == 409
    assert "20 units, we find 0 in these calls" in refused.json()["error"]["message"]
    assert {one["check"] for one in trial.audits(1, info)} == {HONEST}
    # Nor does anyone have watchers run calls again who isn't one.
    stranger = account("stranger")
    found = Overcharge(info.session, 20, stranger.address)
    message = overcharge_digest(found, place.chain.chain_id, place.chain.address("MeteredSessions"))
    unknown = replace(asked, reporter=stranger.address, signature=sign(message, stranger))
    assert "no watcher or arbiter" in ask(unknown.to_json()).json()["error"]["message"]
    assert ask({**asked.to_json(), "calls": []}).status_code == 422
    assert trial.penalty(info) == 0
