"""The provider's loop on a market in memory: each job settles once, whatever dies and whenever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.evidence import StorageFull
from oracle.intake import Declined
from oracle.outbox import DryRun
from oracle.states import FINAL, State
from oracle.store import StateConflict
from scrip.errors import Reverted
from scrip.spec import spec_hash
from scrip.types import JobState, Outcome, Status
from tests.unit.oracle_factory import SPEC, Lab, terms
from tests.unit.oracle_market import CPU_CLASS, NOW, Killed, cpu_class


@pytest.fixture
def lab(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch, database_url)
    yield made
    made.close()


# What a job goes through


def test_job__opened_with_a_quote__settles(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)
    assert node.path(job) == [
        "quoted", "queued", "executing", "metered", "signing", "signed", "submitting", "settled"
    ]  # fmt: skip
    [receipt] = lab.market.settled[job]
    assert (receipt.outcome, receipt.units, receipt.assurance) == (Outcome.COMPLETED, 400, 1)
    assert node.evidence.get(job).output == b"the output"
    node.until(lambda: node.store.job(job).tx_hash)


def test_job__opened_without_a_quote__is_accepted_and_settles(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    job = lab.market.open(asked)
    node.until_at(job, State.SETTLED)
    assert node.path(job)[:3] == ["open", "accepting", "queued"]


def test_job__spec_comes_late__waits_for_it(lab: Lab) -> None:
    node = lab.start()
    job = lab.market.open(terms(lab.market))
    node.until(lambda: "waiting for its spec" in node.store.job(job).reason if node.at(job) else False)
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    node.until_at(job, State.SETTLED)


def test_job__spec_never_comes__is_given_back_near_accept_by(lab: Lab) -> None:
    node = lab.start()
    job = lab.market.open(terms(lab.market))
    node.until_at(job, State.OPEN)
    lab.market.now += 117
    node.until_at(job, State.CANCELLED)
    assert "spec" in node.store.job(job).reason


def test_job__declined_and_not_to_be_cancelled__is_left_to_expire(lab: Lab) -> None:
    node = lab.start(cancel_declined=False)
    job = lab.market.open(terms(lab.market))
    lab.market.now += 117
    node.until(lambda: "spec" in node.store.job(job).reason if node.at(job) else False)
    for _ in range(3):
        node.cycle()
    assert node.at(job) is State.OPEN
    assert node.sender.sent == []
    lab.market.set(job, Status.EXPIRED)
    node.until_at(job, State.EXPIRED)


def test_job__process_fails__is_refunded_with_evidence(lab: Lab) -> None:
    node = lab.start()
    node.executor.ends = [("timeout", None)]
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.REFUNDED)
    [receipt] = lab.market.settled[job]
    assert (receipt.outcome, receipt.units) == (Outcome.FAILED, 0)
    assert node.store.job(job).reason.startswith("timeout")


def test_job__supervisor_lost__runs_again_as_the_next_attempt(lab: Lab) -> None:
    node = lab.start()
    node.executor.ends = [("killed", None)]
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)
    assert node.store.job(job).attempt == 2
    assert node.evidence.attempts(job) == (2,)


def test_job__every_attempt_lost__is_given_back(lab: Lab) -> None:
    node = lab.start(max_attempts=1)
    node.executor.ends = [("killed", None)]
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.CANCELLED)
    assert job not in lab.market.settled


def test_job__too_late_to_run__is_given_back(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    lab.market.now = asked.submit_by - 10
    node.until_at(job, State.CANCELLED)
    assert node.executor.started == []


def test_job__cancelled_by_the_chain_while_running__is_stopped(lab: Lab) -> None:
    node = lab.start(held=True)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: node.executor.started)
    lab.market.set(job, Status.EXPIRED)
    node.until_at(job, State.EXPIRED)
    node.until(node.tasks.idle)
    assert node.at(job) is State.EXPIRED


def test_job__with_challenge_window__is_finalized_after_it(lab: Lab) -> None:
    lab.market.classes[CPU_CLASS] = cpu_class(challenge_window=60)
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SUBMITTED)
    for _ in range(3):
        node.cycle()
    assert node.at(job) is State.SUBMITTED
    lab.market.now += 61
    node.until_at(job, State.SETTLED)


def test_job__more_than_places__the_rest_waits_and_settles(lab: Lab) -> None:
    node = lab.start(slots=1, queue=1)
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    jobs = [lab.market.open(terms(lab.market, salt=salt)) for salt in range(5)]
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs))
    assert [len(lab.market.settled[job]) for job in jobs] == [1] * 5


def test_quote__never_used__lapses_and_frees_its_place(lab: Lab) -> None:
    node = lab.start(slots=1, queue=0)
    asked = terms(lab.market)
    quote = node.desk.quote(asked, SPEC)
    with pytest.raises(Declined, match="no place is free"):
        node.desk.quote(terms(lab.market, salt=2), SPEC)
    lab.market.now += 121
    node.until_at(quote.job_id, State.LAPSED)
    node.desk.quote(terms(lab.market, salt=2), SPEC)


# Batches


def test_batch__several_jobs__settle_in_one_transaction(lab: Lab) -> None:
    node = lab.start(slots=4, settle={"max_batch": 3, "max_age_s": 3600})
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    jobs = [lab.market.open(terms(lab.market, salt=salt)) for salt in range(3)]
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs))
    assert [label for label in node.sender.sent if label.startswith("settlement")] == ["settlement 1.0"]


def test_batch__not_full__is_sent_by_age(lab: Lab) -> None:
    node = lab.start(settle={"max_batch": 10, "max_age_s": 0})
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)


def test_batch__row_skipped__others_settle_and_it_goes_alone(lab: Lab) -> None:
    node = lab.start(slots=4, settle={"max_batch": 3, "max_age_s": 3600, "retry_s": 1})
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    jobs = [lab.market.open(terms(lab.market, salt=salt)) for salt in range(3)]
    lab.market.skip[jobs[1]] = "JobMarket_BadInterval"
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs))
    reasons = [step.reason for step in node.store.steps(jobs[1])]
    assert any("Skipped" in reason for reason in reasons)
    assert [len(lab.market.settled[job]) for job in jobs] == [1, 1, 1]


def test_batch__reverts_as_a_whole__is_taken_apart(lab: Lab) -> None:
    node = lab.start(slots=4, settle={"max_batch": 3, "max_age_s": 3600})
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    lab.market.refuse = lambda call: Reverted("X", {}) if call == "submitBatch" else None
    jobs = [lab.market.open(terms(lab.market, salt=salt)) for salt in range(3)]
    node.until(lambda: all(node.at(job) is State.SETTLED for job in jobs))
    assert [len(lab.market.settled[job]) for job in jobs] == [1, 1, 1]


# Kill and restart


def test_kill__during_execution__runs_again_and_settles_once(lab: Lab) -> None:
    node = lab.start(held=True)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: node.store.job(job).process_group is not None)
    lab.crash(node)
    again = lab.start()
    assert again.at(job) is State.EXECUTING
    again.until_at(job, State.SETTLED)
    assert again.kills == [(4_000_000, 77)]
    assert again.store.job(job).attempt == 2
    assert len(lab.market.settled[job]) == 1


def test_kill__after_signing__sends_the_same_signatures(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()
    asked = terms(lab.market)

    def die(_: Any) -> Any:
        raise Killed

    monkeypatch.setattr(node.settler, "_send", die)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SIGNED)
    [before] = node.store.settlements()
    lab.crash(node)
    again = lab.start()
    again.until_at(job, State.SETTLED)
    assert again.store.settlement(before.id).attestation == before.attestation
    assert len(lab.market.settled[job]) == 1


@pytest.mark.parametrize("fault", ["die_before", "die_after"])
def test_kill__around_broadcast__settles_once(lab: Lab, fault: str) -> None:
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.sender.faults = [fault]
    node.until(lambda: node.sender.sent)
    lab.crash(node)
    again = lab.start()
    assert again.at(job) in (State.SUBMITTING, State.SETTLED)  # its last pass may have seen the chain
    again.until_at(job, State.SETTLED)
    assert len(lab.market.settled[job]) == 1


@pytest.mark.parametrize("fault", ["die_before", "die_after"])
def test_kill__around_accept__accepts_once(lab: Lab, fault: str) -> None:
    node = lab.start()
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    node.sender.faults = [fault]
    job = lab.market.open(terms(lab.market))
    node.until(lambda: node.sender.sent)
    lab.crash(node)
    again = lab.start()
    again.until_at(job, State.SETTLED)
    assert len(lab.market.settled[job]) == 1


def test_kill__store_lost__running_jobs_are_found_and_given_back(lab: Lab, tmp_path: Path) -> None:
    node = lab.start(held=True)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: node.executor.started)
    lab.crash(node)
    lab.folder, lab.database = tmp_path / "fresh", ""
    again = lab.start()
    again.until_at(job, State.CANCELLED)
    assert "spec" in again.store.job(job).reason


def test_outcome_unknown__is_waited_for__never_sent_again(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.sender.faults = ["hold"]
    node.until(lambda: node.sender.held)
    for _ in range(5):
        node.cycle()
    assert node.sender.sent == ["settlement 1.0"]
    assert node.at(job) is State.SUBMITTING
    node.sender.release("settlement 1.0")
    node.until_at(job, State.SETTLED)
    assert len(lab.market.settled[job]) == 1


def test_finality__settled_at_the_head_only__is_not_the_end_yet(lab: Lab) -> None:
    lab.market.finality = 3
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    for _ in range(5):
        node.cycle()
    assert node.at(job) is State.QUOTED
    for _ in range(3):
        lab.market.mine()
    node.until(lambda: lab.market.jobs[job].status is Status.SETTLED)
    for _ in range(5):
        node.cycle()
    assert node.at(job) is State.SUBMITTING
    for _ in range(3):
        lab.market.mine()
    node.until_at(job, State.SETTLED)
    assert node.sender.sent == ["settlement 1.0"]


def test_settled_by_another_sender__is_noticed_and_not_sent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    collect = node.settler._collect

    def collect_late(settlement: Any) -> Any:
        lab.market.set(job, Status.SETTLED)
        return collect(settlement)

    monkeypatch.setattr(node.settler, "_collect", collect_late)
    node.until_at(job, State.SETTLED)
    assert node.sender.sent == []


def test_reorg__job_reopened_with_another_nonce__is_run_anew(lab: Lab) -> None:
    node = lab.start()
    too_early = Reverted("JobMarket_BadInterval", {"given": 2, "limit": 1})
    lab.market.refuse = lambda _: too_early
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: "metered" in node.path(job))
    old = node.store.job(job).nonce
    lab.market.jobs[job] = JobState(Status.RUNNING, NOW + 5, old + 1000)
    lab.market.now += 10
    lab.market.keep()
    # The contract refuses what began before the job was opened anew: the first attempt's receipt for ever.
    lab.market.refuse = lambda _: None if node.store.job(job).attempt > 1 else too_early
    node.until_at(job, State.SETTLED)
    assert node.evidence.get(job, 2).nonce == old + 1000
    assert lab.market.settled[job][-1].evidence_root == node.evidence.get(job, 2).receipt.evidence_root


# Dry run, disk


def test_dry_run__does_everything_but_sign_and_send(lab: Lab) -> None:
    node = lab.start(dry=True)
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    with pytest.raises(DryRun):
        node.desk.quote(terms(lab.market, salt=9), SPEC)
    job = lab.market.open(terms(lab.market))
    node.until(lambda: "would accept" in node.store.job(job).reason if node.at(job) else False)
    lab.market.set(job, Status.RUNNING)
    node.until_at(job, State.METERED)
    for _ in range(5):
        node.cycle()
    assert node.at(job) is State.METERED
    assert node.sender.sent == []


def test_disk_full__attempt_is_lost_and_repeated(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()
    put, failures = node.evidence.put, [1]

    def full(bundle: Any) -> Any:
        if failures:
            failures.pop()
            raise StorageFull(Path("evidence"), "No space left on device")
        return put(bundle)

    monkeypatch.setattr(node.evidence, "put", full)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)
    assert node.store.job(job).attempt == 2


def test_states__final_ones__are_never_left(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)
    for state in State:
        with pytest.raises(StateConflict):
            node.store.move(job, state)
    assert node.at(job) in FINAL
