"""Asking watchers over real HTTP: two rounds, and nothing that a watcher does makes a wrong quorum or keeps
the others from one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from demo.processes import free_ports
from oracle import fetch
from oracle.api_watcher import watcher_app
from oracle.outbox import Stopped
from oracle.quorum import Outcome, Quorum, Row, digest
from oracle.settings import QuorumSettings
from oracle.statements import equivocations
from oracle.store import Store
from oracle.verify import VerifyRequest
from scrip.ballots import Equivocation
from scrip.eip712 import recover, sign
from scrip.errors import BadInput
from scrip.types import Receipt
from tests.unit.bad_watchers import FORGED, Voter, app_of, copying, served, slow, voting
from tests.unit.evidence_factory import make_bundle
from tests.unit.oracle_market import CHAIN_ID, ORACLE, VERIFIER
from tests.unit.verify_factory import tokens
from tests.unit.watcher_bench import WATCHERS, Bench, renamed

T = tokens()
OTHER = renamed(T, salt=8)
LAST = WATCHERS[2]
PATIENT_S = 30
"""No honest watcher takes that long, however busy the machine."""
HASTY_S = 2


@dataclass
class Place:
    """Honest watchers 0 and 1 with real APIs, a seat for one that isn't, and the provider's store."""

    bench: Bench
    store: Store
    stack: ExitStack
    urls: list[str]

    def ask(self, *requests: VerifyRequest, timeout_s: int = PATIENT_S, forge: Any = None) -> Outcome:
        """What the provider gets for these receipts."""
        rows = []
        for request in requests or (T,):
            url = self.bench.serve(request)
            if forge is not None:
                self.bench.bundles[url] = forge(self.bench.bundles[url])
            rows.append(Row(request.receipt, request.facts.terms, url))
        return self._quorum(timeout_s).collect(
            rows, 1, batched=len(rows) > 1, signature=sign(subject_of(rows), ORACLE)
        )

    def _quorum(self, timeout_s: int) -> Quorum:
        settings = QuorumSettings.model_validate({"watchers": self.urls, "timeout_s": timeout_s})
        return Quorum(settings, self.bench.facts, self.store)  # type: ignore[arg-type]

    def add(self, app: Any) -> str:
        """One more watcher; its URL."""
        self.urls.append(self.stack.enter_context(served(app)))
        return self.urls[-1]


def subject_of(rows: list[Row]) -> bytes:
    return digest([row.receipt for row in rows], CHAIN_ID, VERIFIER, batched=len(rows) > 1)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Two honest watchers; two of the set of three must sign."""
    bench, store = Bench(tmp_path, monkeypatch, 2, threshold=2), Store.open(f"sqlite:///{tmp_path / 'o.db'}")
    with ExitStack() as stack:
        stack.callback(store.close)
        stack.callback(bench.close)
        urls = [stack.enter_context(served(watcher_app(node.parts()))) for node in bench.nodes]
        yield Place(bench, store, stack, urls)


@pytest.fixture
def voter() -> Iterator[Voter]:
    made = Voter(LAST, CHAIN_ID, VERIFIER)
    yield made
    made.free.set()


def signers(outcome: Outcome, *receipts: Receipt) -> list[str]:
    message = digest(receipts or (T.receipt,), CHAIN_ID, VERIFIER, batched=len(receipts) > 1)
    return [recover(message, signature) for signature in outcome.signatures]


HONEST = sorted((one.address for one in WATCHERS[:2]), key=lambda address: int(address, 16))


def test_collect__two_honest_watchers__both_sign_in_order(place: Place) -> None:
    found = place.ask()
    assert found.enough
    assert signers(found) == HONEST
    assert place.store.refusals(T.receipt.job_id) == []


def test_collect__batch__is_signed_over_the_list(place: Place) -> None:
    found = place.ask(T, OTHER)
    assert signers(found, T.receipt, OTHER.receipt) == HONEST


def test_collect__forged_evidence__is_hopeless_and_refusals_are_kept_with_signed_statements(
    place: Place,
) -> None:
    found = place.ask(forge=lambda raw: raw.replace(b'"value":2700000', b'"value":2700001'))
    assert (found.signatures, found.enough) == ((), False)
    assert "evidence.root" in found.hopeless[T.receipt.job_id]
    refusals = place.store.refusals(T.receipt.job_id)
    assert {item.check for item in refusals} == {"evidence.root"}
    assert len({json.loads(item.statement)["signature"] for item in refusals}) == 2


def test_collect__asked_again__keeps_a_refusal_once(place: Place) -> None:
    for _ in range(2):
        place.ask(forge=lambda _: b"[]")
    assert len(place.store.refusals(T.receipt.job_id)) == 2


# One watcher that misbehaves

Bad = Callable[[Voter, list[str]], Any]
BAD: dict[str, tuple[Bad, str]] = {
    "slow": (lambda v, _: slow(v, at_once=False), ""),
    "slow to open": (lambda v, _: slow(v, at_once=True), ""),
    "refuses everything": (lambda v, _: voting(v, says=False), ""),
    "signs garbage": (
        lambda v, _: voting(v, says=True, cosigns=lambda _: b"\x01" * 65),
        "signature.v",
    ),
    "signs another receipt": (
        lambda v, _: voting(v, says=True, cosigns=lambda _: sign(b"\x02" * 32, v.key)),
        "the co-signature is by",
    ),
    "commits to another receipt": (
        lambda v, _: app_of(lambda _: v.commit(bytes(32), bytes(32)).to_json(), lambda _: 500),
        "something else than it was asked for",
    ),
    "equivocates": (lambda v, _: voting(v, says=False, opens=True), "another vote than it had committed to"),
    "copies a commitment": (lambda v, urls: copying(v, urls[0], verbatim=True), "has voted already"),
    "copies a seal": (lambda v, urls: copying(v, urls[0], verbatim=False), "HTTP 425"),
    "isn't of the set": (
        lambda v, _: voting(Voter(Account.from_key(b"\x09" * 32), *v.place), says=True),
        "isn't in the watcher set",
    ),
    "fails": (lambda _, __: app_of(lambda _: 500, lambda _: 500), "not JSON"),
    "answers nonsense": (lambda _, __: app_of(lambda _: b"<html>", lambda _: 500), "not JSON"),
    "answers a list": (lambda _, __: app_of(lambda _: [], lambda _: 500), "not an object"),
    "answers an empty object": (lambda _, __: app_of(lambda _: {}, lambda _: 500), "statement"),
    "opens nonsense": (
        lambda v, _: app_of(lambda body: v.commit(v.subject(body), bytes(32)).to_json(), lambda _: {}),
        "KeyError",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_collect__two_honest_and_one_that_misbehaves__honest_ones_make_the_quorum(
    place: Place, voter: Voter, kind: str
) -> None:
    place.urls.insert(0, place.add(BAD[kind][0](voter, place.urls)))  # asked first
    place.urls.pop()
    found = place.ask(timeout_s=PATIENT_S)
    assert found.enough
    assert signers(found) == HONEST


@pytest.mark.parametrize("kind", BAD)
def test_collect__one_honest_and_one_that_misbehaves__makes_no_quorum(
    place: Place, voter: Voter, kind: str
) -> None:
    bad, why = BAD[kind]
    app = bad(voter, place.urls)
    del place.urls[1]
    place.add(app)
    found = place.ask(timeout_s=HASTY_S if kind.startswith("slow") else PATIENT_S)
    assert not found.enough
    assert LAST.address not in signers(found)
    assert why in " ".join(found.failures)


def test_collect__watcher_down__others_make_the_quorum(place: Place) -> None:
    place.urls.insert(0, f"http://127.0.0.1:{free_ports(1)[0]}")
    assert place.ask(timeout_s=PATIENT_S).enough


def test_collect__one_down_of_two_needed__no_vote_is_opened(place: Place) -> None:
    place.urls[1] = f"http://127.0.0.1:{free_ports(1)[0]}"
    found = place.ask(timeout_s=PATIENT_S)
    assert found.signatures == ()
    assert "1 of 2 watchers have committed" in found.reason


def test_collect__all_but_one_refuse_and_the_last_lies__is_hopeless_and_never_signed_enough(
    place: Place, voter: Voter
) -> None:
    place.add(voting(voter, says=True))
    found = place.ask(forge=lambda _: b"[]")
    assert not found.enough
    assert list(found.hopeless) == [T.receipt.job_id]


def test_collect__one_lies_that_it_is_false__isnt_hopeless(place: Place, voter: Voter) -> None:
    place.add(voting(voter, says=False))
    found = place.ask()
    assert found.enough
    assert found.hopeless == {}
    assert {item.reason for item in place.store.refusals(T.receipt.job_id)} <= {FORGED}


def test_collect__vote_opened_otherwise_than_committed__leaves_a_proof(place: Place, voter: Voter) -> None:
    del place.urls[1]
    place.add(voting(voter, says=False, opens=True))
    place.ask(timeout_s=PATIENT_S)
    [shown] = equivocations(place.store, 10)
    shown.pop("atMs")
    proof = Equivocation.from_json(shown)
    assert proof.watcher == LAST.address
    assert proof.check(CHAIN_ID, VERIFIER)


def test_collect__two_commitments_of_one_watcher__count_for_nothing_and_leave_a_proof(
    place: Place, voter: Voter
) -> None:
    place.urls.clear()
    for passed in (True, False):
        place.add(voting(voter, says=passed))
    found = place.ask(timeout_s=PATIENT_S)
    assert found.signatures == ()
    [shown] = equivocations(place.store, 10)
    assert shown["watcher"] == LAST.address


def test_collect__copier_shown_a_copied_seal__honest_watcher_stays_sealed(place: Place, voter: Voter) -> None:
    app = copying(voter, place.urls[0], verbatim=False)
    del place.urls[1]
    place.add(app)
    found = place.ask(timeout_s=PATIENT_S)
    assert found.signatures == ()


# The rest


def test_collect__signature_of_a_stranger__no_watcher_looks_at_it(place: Place) -> None:
    row = Row(T.receipt, T.facts.terms, place.bench.serve(T))
    quorum = place._quorum(PATIENT_S)
    signature = sign(subject_of([row]), Account.from_key(b"\x09" * 32))
    found = quorum.collect([row], 1, batched=False, signature=signature)
    assert "receipt.signer" in found.reason
    assert found.hopeless == {}
    assert place.bench.fetched == []


def test_collect__set_that_is_not_in_force__is_never_enough(place: Place) -> None:
    place.bench.facts.fake.watchers[1] = (set(), 0)
    assert not place.ask().enough


def test_collect__more_than_needed__are_cut_to_the_threshold(place: Place) -> None:
    place.bench.facts.fake.watchers[1] = ({one.address for one in WATCHERS}, 1)
    assert len(place.ask().signatures) == 1


def test_collect__stopping__is_cut_short(place: Place, voter: Voter) -> None:
    place.urls.clear()
    place.add(slow(voter, at_once=False))
    stopping = threading.Event()
    stopping.set()
    settings = QuorumSettings.model_validate({"watchers": place.urls})
    asked = Quorum(settings, place.bench.facts, place.store, stopping)  # type: ignore[arg-type]
    row = Row(T.receipt, T.facts.terms, place.bench.serve(T))
    with pytest.raises(Stopped):
        asked.collect([row], 1, batched=False, signature=sign(subject_of([row]), ORACLE))


def test_collect__row_refused_in_a_batch__is_hopeless_and_the_other_is_not(place: Place) -> None:
    url = place.bench.serve(OTHER)
    rows = [Row(T.receipt, T.facts.terms, place.bench.serve(T)), Row(OTHER.receipt, OTHER.facts.terms, url)]
    place.bench.bundles[url] = b"[]"
    signature = sign(subject_of(rows), ORACLE)
    found = place._quorum(PATIENT_S).collect(rows, 1, batched=True, signature=signature)
    assert list(found.hopeless) == [OTHER.receipt.job_id]


def test_collect__bug_in_our_own_code__is_raised(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(fetch, "post", bug)
    with pytest.raises(ZeroDivisionError):
        place.ask()


def test_digest__several_without_a_batch__raises() -> None:
    receipt = make_bundle().receipt
    with pytest.raises(BadInput):
        digest([receipt, replace(receipt, job_id=bytes(32))], CHAIN_ID, VERIFIER, batched=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://Host.test/a?b", "http://host.test:80"),
        ("https://host.test:8443", "https://host.test:8443"),
        ("http://user:secret@host.test", ""),
        ("file:///etc/passwd", ""),
        ("http://host.test:notaport", ""),
        ("//host.test", ""),
    ],
)
def test_origin__only_plain_http_urls_have_one(url: str, expected: str) -> None:
    assert fetch.origin(url) == expected
