"""A watcher's memory: which receipt of a job it has seen, and what it found."""

from __future__ import annotations

from oracle.claims import GpuClaim
from oracle.reviews import Binding, Reviewed, Reviews, Verdict
from oracle.store import Store
from scrip.evidence import Check

JOB, OTHER = b"\x01" * 32, b"\x02" * 32
SENDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DIFFERS = Verdict(JOB, False, "output.hash", "differs")


def bound(job: bytes, receipt: int, *claims: GpuClaim) -> Binding:
    return Binding(job, bytes([receipt]) * 32, b"\x01" * 32, claims)


def test_bind__another_receipt_of_the_job__is_named_and_nothing_stored(store: Store) -> None:
    reviews = Reviews(store)
    assert reviews.bind([bound(JOB, 0xAA)], 0) == {}
    assert reviews.bind([bound(JOB, 0xAA)], 0) == {}
    against = reviews.bind([bound(OTHER, 0xCC), bound(JOB, 0xBB)], 0)
    assert {job: refused.check for job, refused in against.items()} == {JOB: "receipt.equivocation"}
    assert "0xaaaa" in against[JOB].reason
    assert reviews.bound(OTHER) is None
    assert reviews.bind([bound(OTHER, 0xDD)], 0) == {}


def test_keep__second_verdict_on_the_same_evidence__does_not_replace_the_first(store: Store) -> None:
    reviews, receipt, evidence = Reviews(store), b"\xaa" * 32, b"\xee" * 32
    reviews.keep(SENDER, Reviewed(receipt, evidence, DIFFERS))
    reviews.keep(SENDER, Reviewed(receipt, evidence, Verdict(JOB, True)))
    assert reviews.find(receipt, evidence) == DIFFERS
    assert reviews.passed(receipt) is None


def test_keep__everything_found__comes_back(store: Store) -> None:
    claim = GpuClaim("GPU-1", 1_000, 2_000, 1_000_000, 5, None)
    verdict = Verdict(JOB, True, checks=(Check("output.hash", "4 bytes"),), claims=(claim,))
    reviewed = Reviewed(b"\xaa" * 32, b"\xee" * 32, verdict)
    Reviews(store).keep(SENDER, reviewed)
    assert Reviews(store).passed(b"\xaa" * 32) == reviewed


def test_keep__bound_to_a_refused_receipt__no_other_can_be_signed(store: Store) -> None:
    reviews = Reviews(store)
    reviews.keep(SENDER, Reviewed(b"\xaa" * 32, b"\xee" * 32, DIFFERS), bind=True)
    assert set(reviews.bind([bound(JOB, 0xBB)], 0)) == {JOB}


def test_bind__second_job_on_one_gpu_at_once__is_refused_and_nothing_stored(store: Store) -> None:
    reviews = Reviews(store)
    assert reviews.bind([bound(JOB, 0xAA, GpuClaim("GPU-1", 0, 9_000, 1_000_000, None, None))], 1_000) == {}
    late = bound(OTHER, 0xBB, GpuClaim("GPU-1", 5_000, 12_000, 1_000_000, None, None))
    assert reviews.bind([late], 1_000)[OTHER].check == "gpu.overlap"
    assert reviews.bound(OTHER) is None
    elsewhere = bound(OTHER, 0xBB, GpuClaim("GPU-2", 5_000, 12_000, 1_000_000, None, None))
    assert reviews.bind([elsewhere], 1_000) == {}


def test_keep__other_evidence_for_the_receipt__has_a_verdict_of_its_own(store: Store) -> None:
    reviews, receipt = Reviews(store), b"\xaa" * 32
    reviews.keep(SENDER, Reviewed(receipt, b"\xee" * 32, DIFFERS))
    assert reviews.find(receipt, b"\xdd" * 32) is None
    reviews.keep(SENDER, Reviewed(receipt, b"\xdd" * 32, Verdict(JOB, True)))
    assert reviews.find(receipt, b"\xdd" * 32) == Verdict(JOB, True)
