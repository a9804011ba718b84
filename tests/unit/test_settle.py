"""Settlements: grouping, what happens without a quorum, and what a revert makes of each row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from oracle.lead import Lead
from oracle.quorum import Outcome
from oracle.settle import MAX_TRIES, MissingReceipt, is_early
from oracle.states import Stage, State
from oracle.store import LeadLost, Store
from scrip.errors import Reverted, TxRejected
from scrip.spec import spec_hash
from scrip.types import JobTerms
from tests.unit.oracle_factory import SPEC, Lab, Node, terms
from tests.unit.oracle_market import CPU_CLASS, WATCHED_CLASS, FakeMarket, cpu_class

WATCHERS = {"watchers": ["http://w1.test", "http://w2.test"]}
BATCHES = {"max_batch": 3, "max_age_s": 3600, "retry_s": 1}


@pytest.fixture
def lab(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch, database_url)
    made.signers = [Account.create() for _ in range(2)]
    made.market.watchers[1] = ({key.address for key in made.signers}, 2)
    yield made
    made.close()


def few(market: FakeMarket, *hopeless: bytes) -> Outcome:
    reasons = dict.fromkeys(hopeless, "refused by output.hash: differs")
    return Outcome((), 2, reasons, () if hopeless else ("w1: away",))


def opened(node: Node, **changes: Any) -> bytes:
    asked: JobTerms = terms(node.market, **changes)
    return node.market.open(asked, node.desk.quote(asked, SPEC).signature)


def batch(node: Node, count: int = 3, **changes: Any) -> list[bytes]:
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    return [node.market.open(terms(node.market, salt=salt, **changes)) for salt in range(count)]


# Quorum


def test_quorum__enough__settles_at_assurance_2(lab: Lab) -> None:
    node = lab.start(quorum=WATCHERS)
    job = opened(node, class_id=WATCHED_CLASS)
    node.until_at(job, State.SETTLED)
    assert lab.market.settled[job][0].assurance == 2


# Without a quorum


def test_no_quorum__class_that_takes_less__settles_at_assurance_1(lab: Lab) -> None:
    lab.market.classes[CPU_CLASS] = cpu_class(watcher_set=1, min_assurance=1)
    node = lab.start(quorum=WATCHERS)
    node.quorum.answers = [lambda _: few(lab.market)]
    job = opened(node)
    node.until_at(job, State.SETTLED)
    assert lab.market.settled[job][0].assurance == 1
    assert node.evidence.get(job).receipt == lab.market.settled[job][0]


def test_no_quorum__lead_lost_while_watchers_were_asked__evidence_is_left_alone(lab: Lab) -> None:
    lab.market.classes[CPU_CLASS] = cpu_class(watcher_set=1, min_assurance=1)
    node = lab.start(quorum=WATCHERS)
    lead, other = Lead(node.store, "a", 3600), Store.open(node.settings.database_url)
    successor = Lead(other, "b", 3600)
    assert lead.leads()

    def taken_over(_: Any) -> Outcome:
        assert successor._step_up((1, 0), "a")
        return few(lab.market)

    node.quorum.answers = [taken_over]
    job = opened(node)
    with pytest.raises(LeadLost):
        node.until_at(job, State.SETTLED)
    assert node.evidence.get(job).receipt.assurance == 2
    assert other.job(job).at is State.SIGNING
    for each in (lead, successor):
        each.release()
    other.close()


def test_no_quorum__watchers_away__is_asked_again_and_settles(lab: Lab) -> None:
    node = lab.start(quorum=WATCHERS, settle={"retry_s": 1})
    node.quorum.answers = [lambda _: few(lab.market)]
    job = opened(node, class_id=WATCHED_CLASS)
    node.until_at(job, State.SETTLED)
    assert lab.market.settled[job][0].assurance == 2
    assert node.store.job(job).tries == 1


def test_no_quorum__refused_for_good__is_given_back_and_never_settled(lab: Lab) -> None:
    node = lab.start(quorum=WATCHERS)
    node.quorum.answers = [lambda rows: few(lab.market, rows[0].receipt.job_id)] * 9
    job = opened(node, class_id=WATCHED_CLASS)
    node.until_at(job, State.CANCELLED)
    assert "refused by output.hash" in node.store.job(job).reason
    assert job not in lab.market.settled


def test_no_quorum__deadline_near__is_given_back(lab: Lab) -> None:
    node = lab.start(quorum=WATCHERS, settle={"retry_s": 1})
    node.quorum.answers = [lambda _: few(lab.market)] * 99
    job = opened(node, class_id=WATCHED_CLASS)
    node.until(lambda: node.store.job(job).tries > 0)
    lab.market.now = node.store.job(job).terms.submit_by - 10
    node.until_at(job, State.CANCELLED)
    assert "not settled in time" in node.store.job(job).reason


def test_failed_job__needs_no_watcher(lab: Lab) -> None:
    node = lab.start(quorum=WATCHERS)
    node.executor.ends = [("failed", 1)]
    job = opened(node, class_id=WATCHED_CLASS)
    node.until_at(job, State.REFUNDED)
    assert node.quorum.asked == []


# Batches


def test_batch__row_refused_by_watchers__others_settle_together_and_it_goes_alone(lab: Lab) -> None:
    node = lab.start(slots=4, quorum=WATCHERS, settle=BATCHES)
    jobs: list[bytes] = []
    node.quorum.answers = [lambda _: few(lab.market, jobs[1]), lambda _: None, lambda _: None, lambda _: None]
    jobs += batch(node, class_id=WATCHED_CLASS)
    node.until(lambda: len(node.quorum.asked) >= 2)
    assert len(node.quorum.asked[0]) == 3
    lab.market.now += 850  # near the deadline a batch is sent though it isn't full
    node.until(lambda: all(node.at(job) in (State.SETTLED, State.CANCELLED) for job in jobs))
    assert node.store.job(jobs[1]).alone
    assert [jobs[1]] in node.quorum.asked[1:]
    assert [len(lab.market.settled[job]) for job in jobs] == [1, 1, 1]


def test_batch__watchers_away__rows_wait_and_settle(lab: Lab) -> None:
    node = lab.start(slots=4, quorum=WATCHERS, settle=BATCHES)
    node.quorum.answers = [lambda _: few(lab.market)]
    jobs = batch(node, class_id=WATCHED_CLASS)
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs))
    assert all(lab.market.settled[job][0].assurance == 2 for job in jobs)


def test_batch__rows_of_different_watcher_sets__are_never_mixed(lab: Lab) -> None:
    node = lab.start(slots=4, quorum=WATCHERS, settle={"max_batch": 2, "max_age_s": 3600})
    watched, plain = batch(node, 2, class_id=WATCHED_CLASS), batch(node, 2)
    jobs = [*watched, *plain]
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs))
    sets = [(row.watcher_set, set(row.jobs)) for row in node.store.settlements(list(Stage))]
    assert sorted(sets, key=lambda row: row[0]) == [(0, set(plain)), (1, set(watched))]


def test_batch__a_row_ended_by_others__the_rest_settle(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start(slots=4, settle=BATCHES)
    jobs: list[bytes] = []
    collect = node.settler._collect

    def late(settlement: Any) -> Any:
        from scrip.types import Status

        if len(settlement.jobs) == 3:
            lab.market.set(jobs[0], Status.EXPIRED)
        return collect(settlement)

    monkeypatch.setattr(node.settler, "_collect", late)
    jobs += batch(node)
    node.until_at(jobs[0], State.EXPIRED)
    lab.market.now += 850
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs[1:]))
    assert jobs[0] not in lab.market.settled


# Reverts


def test_single__ends_after_the_chains_time__is_sent_again_soon(lab: Lab) -> None:
    node = lab.start()
    refusals = [Reverted("JobMarket_BadInterval", {"jobId": b"", "given": 9, "limit": 8})]
    lab.market.refuse = lambda call: refusals.pop() if refusals and call == "submit" else None
    job = opened(node)
    node.until_at(job, State.SETTLED)
    assert node.store.job(job).tries == 0


def test_single__reverts_for_ever__is_given_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()
    lab.market.refuse = lambda call: Reverted("JobMarket_TooFast", {}) if call == "submit" else None
    monkeypatch.setattr(node.settler, "_later", lambda job: {"tries": job.tries + MAX_TRIES})
    job = opened(node)
    node.until_at(job, State.CANCELLED)
    assert "JobMarket_TooFast" in node.store.job(job).reason


def test_single__past_submit_by__is_given_back(lab: Lab) -> None:
    node = lab.start(held=True)
    job = opened(node)
    node.until(lambda: node.executor.started)
    lab.market.now = node.store.job(job).terms.submit_by + 1
    node.executor.may_end.set()
    node.until_at(job, State.CANCELLED)


def test_single__node_refuses_the_transaction__is_tried_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start()
    send, refusals = node.sender.send, [1]

    def poor(call: Any, *, label: str) -> Any:
        if label.startswith("settlement") and refusals:
            refusals.pop()
            raise TxRejected(label, "insufficient funds")
        return send(call, label=label)

    monkeypatch.setattr(node.sender, "send", poor)
    job = opened(node)
    node.until_at(job, State.SETTLED)
    assert len(lab.market.settled[job]) == 1


@pytest.mark.parametrize(
    ("error", "early"),
    [
        (Reverted("JobMarket_BadInterval", {"given": 9, "limit": 8}), True),
        (Reverted("JobMarket_BadInterval", {"given": 8, "limit": 9}), False),
        (Reverted("JobMarket_TooFast", {"given": 9, "limit": 8}), False),
    ],
)
def test_is_early__only_for_a_receipt_ahead_of_the_chain(error: Reverted, early: bool) -> None:
    assert is_early(error) is early


def test_form__job_without_a_receipt__says_that_the_store_was_changed(lab: Lab) -> None:
    node = lab.start()
    job = lab.market.open(terms(lab.market))
    node.until(lambda: node.at(job))
    node.store.move(job, State.QUEUED)
    node.store.move(job, State.EXECUTING)
    node.store.move(job, State.METERED)
    with pytest.raises(MissingReceipt, match="without a receipt"):
        node.settler.form(lab.market.now)
