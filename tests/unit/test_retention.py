"""Evidence is kept as long as a dispute may need it, and never deleted to make room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oracle.daemon import ProviderCycle
from oracle.evidence import EvidenceStore, StorageFailed, StorageFull
from oracle.intake import Declined, Why
from oracle.retention import DISPUTE_S
from oracle.states import State
from scrip.errors import NotFound
from scrip.spec import spec_hash
from tests.unit.evidence_factory import make_bundle, make_terms
from tests.unit.oracle_factory import SPEC, Lab, Node, terms

MARGIN_S = 7 * 86_400
WINDOW_S = 3_600


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    yield made
    made.close()


def settled(lab: Lab, node: Node, salt: int = 1) -> bytes:
    asked = replace(terms(lab.market), salt=salt)
    job: bytes = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)
    node.until(lambda: node.store.job(job).tx_hash and node.tasks.idle())  # what is noted last
    return job


def clocks(lab: Lab, node: Node, *, ours: int, chains: int) -> None:
    """Set both clocks, unix seconds."""
    node.store.now_ms = lambda: ours * 1000
    lab.market.now = chains


def until(node: Node, job: bytes) -> int:
    found = node.retention.kept_until(node.store.job(job))
    assert found is not None
    return found


# --- the rule


def test_job_that_goes_on__kept_for_ever(lab: Lab) -> None:
    node = lab.start(held=True)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.EXECUTING)
    assert node.retention.kept_until(node.store.job(job)) is None
    node.evidence.put(replace(make_bundle(terms=asked), job_id=job))
    clocks(lab, node, ours=2**40, chains=2**40)
    assert node.retention.prune() == 0
    assert node.evidence.attempts(job) == (1,)
    node.store.now_ms = lambda: 0


def test_ended_job__kept_for_window_arbiters_and_margin_then_deleted(lab: Lab) -> None:
    node = lab.start()
    job = settled(lab, node)
    row = node.store.job(job)
    last = until(node, job)
    assert last >= row.updated_ms / 1000 + DISPUTE_S + MARGIN_S
    assert last >= row.terms.submit_by + DISPUTE_S + MARGIN_S
    for ours, chains in ((last, last), (last + 1, last), (last, last + 1)):  # one clock alone proves nothing
        clocks(lab, node, ours=ours, chains=chains)
        assert node.retention.prune() == 0
        assert node.evidence.get(job).job_id == job
    clocks(lab, node, ours=last + 1, chains=last + 1)
    assert node.retention.prune() == 1
    with pytest.raises(NotFound):
        node.evidence.get(job)
    assert list(node.evidence.list()) == []
    assert node.evidence.used_bytes() == 0
    assert node.store.job(job).at is State.SETTLED


def test_class_with_a_challenge_window__kept_that_much_longer(lab: Lab) -> None:
    node = lab.start()
    job = settled(lab, node)
    before, class_id = until(node, job), node.store.job(job).terms.class_id
    lab.market.classes[class_id] = replace(lab.market.classes[class_id], challenge_window=WINDOW_S)
    assert until(node, job) == before + WINDOW_S


def test_our_clock_was_wrong_at_the_end__submit_by_counts(lab: Lab) -> None:
    node = lab.start()
    job = settled(lab, node)
    with node.store.writing() as session:
        session.get(type(node.store.job(job)), job).updated_ms = 0  # type: ignore[union-attr]
    assert until(node, job) == node.store.job(job).terms.submit_by + DISPUTE_S + MARGIN_S


def test_margin__configurable_longer(lab: Lab) -> None:
    node = lab.start(evidence={"margin_s": 365 * 86_400})
    job = settled(lab, node)
    assert until(node, job) >= node.store.job(job).terms.submit_by + DISPUTE_S + 365 * 86_400


def test_evidence_of_a_job_the_store_does_not_know__stays(lab: Lab) -> None:
    node, stray = lab.start(), make_bundle(terms=make_terms(salt=77))
    node.evidence.put(stray)
    clocks(lab, node, ours=2**40, chains=2**40)
    assert node.retention.prune() == 0
    assert node.evidence.get(stray.job_id) == stray


def test_young_evidence__not_even_looked_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()
    settled(lab, node)
    now = int(time.time())
    clocks(lab, node, ours=now, chains=now)

    def never(_: bytes) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(node.store, "find", never)
    assert node.retention.prune() == 0


def test_stopping__ends_the_pass(lab: Lab) -> None:
    node = lab.start()
    settled(lab, node)
    clocks(lab, node, ours=2**40, chains=2**40)
    node.retention._stopping.set()
    assert node.retention.prune() == 0


def test_file_that_can_not_be_deleted__the_others_are_and_it_is_tried_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start()
    first, second = sorted(settled(lab, node, salt) for salt in range(2))
    clocks(lab, node, ours=2**40, chains=2**40)
    forget = EvidenceStore.forget

    def stuck(self: EvidenceStore, job_id: bytes) -> None:
        if job_id == first:
            raise StorageFailed(Path("x"), "read-only")
        forget(self, job_id)

    with monkeypatch.context() as patch:
        patch.setattr(EvidenceStore, "forget", stuck)
        assert node.retention.prune() == 1
    assert node.evidence.attempts(first) == (1,)
    assert node.evidence.attempts(second) == ()
    assert node.retention.prune() == 1


def test_forget__killed_between_two_files__the_rest_goes_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, bundle = EvidenceStore(tmp_path), make_bundle()
    folder = store.put(bundle).parent
    (folder / ".2.json.deadbeef").write_bytes(b"left by a kill -9")
    assert store.used_bytes() == EvidenceStore(tmp_path).used_bytes()
    unlink, count = Path.unlink, iter((True, False))

    def killed(self: Path, missing_ok: bool = False) -> None:
        if not next(count):
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.forget(bundle.job_id)
    assert store.used_bytes() == EvidenceStore(tmp_path).used_bytes() > 0
    store.forget(bundle.job_id)
    assert not folder.exists()
    assert store.used_bytes() == 0


def test_cycle_of_the_daemon__prunes(lab: Lab) -> None:
    node = lab.start()
    job = settled(lab, node)
    clocks(lab, node, ours=2**40, chains=2**40)
    parts: Any = SimpleNamespace(
        base=SimpleNamespace(settings=node.settings), reconciler=node.reconciler, dispatcher=node.dispatcher,
        tasks=node.tasks, retention=node.retention, shop=None, gateway=None,
    )  # fmt: skip
    cycle = ProviderCycle(parts)
    cycle()
    node.until(cycle.quiet)
    assert node.evidence.attempts(job) == ()


# --- the room


def fill(node: Node, mib: int) -> Path:
    """Evidence of this size, as far as the file system says."""
    path = node.evidence.root / ("ab" * 32) / "1.json"
    path.parent.mkdir(parents=True)
    path.touch()
    with path.open("rb+") as file:
        file.truncate(mib * 2**20)
    return path


def test_quota_used_up__new_jobs_declined_and_nothing_deleted(lab: Lab) -> None:
    node = lab.start(evidence={"quota_mib": 64})
    path, asked = fill(node, 64), terms(lab.market)
    with pytest.raises(Declined, match="quota_mib is 64") as error:
        node.desk.quote(asked, SPEC)
    assert (error.value.why, error.value.passing) == (Why.CAPACITY, True)
    with pytest.raises(StorageFull, match="used up"):
        node.retention.probe()
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    job = lab.market.open(asked)
    node.until(lambda: "used up" in node.store.job(job).reason if node.at(job) else False)
    assert path.exists()
    assert node.at(job) is State.OPEN


def test_room_again__waiting_job_is_taken(lab: Lab) -> None:
    node = lab.start(evidence={"quota_mib": 64})
    fill(node, 64)
    node.desk.keep_spec(spec_hash(SPEC), SPEC)
    job = lab.market.open(terms(lab.market))
    node.until(lambda: "used up" in node.store.job(job).reason if node.at(job) else False)
    node.evidence.forget(b"\xab" * 32)
    node.until_at(job, State.SETTLED)


def test_jobs_under_way__count_too(lab: Lab) -> None:
    node = lab.start(evidence={"quota_mib": 64})
    fill(node, 61)
    node.retention.room(2)
    with pytest.raises(Declined):
        node.retention.room(3)


def test_disk_nearly_full__new_jobs_declined(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()
    assert "MiB free" in node.retention.probe()
    monkeypatch.setattr(EvidenceStore, "free_bytes", lambda _: 10 * 2**20)
    with pytest.raises(Declined, match="nearly full"):
        node.desk.quote(terms(lab.market), SPEC)


def test_metrics__say_how_much_is_used(lab: Lab) -> None:
    node = lab.start(evidence={"quota_mib": 64})
    settled(lab, node)
    node.retention.prune()
    registry = node.retention._metrics.registry
    used = registry.get_sample_value("scrip_evidence_bytes")
    assert used == node.evidence.used_bytes() > 0
    assert registry.get_sample_value("scrip_evidence_quota_bytes") == 64 * 2**20
