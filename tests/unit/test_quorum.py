"""Asking watchers: only valid signatures of members count, and nothing a watcher does makes a wrong
quorum.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from oracle import fetch, quorum
from oracle.outbox import Stopped
from oracle.quorum import Quorum, Row, digest
from oracle.settings import QuorumSettings
from oracle.store import Store
from scrip.eip712 import recover, sign
from scrip.errors import BadInput
from scrip.types import Receipt
from tests.unit.evidence_factory import make_bundle
from tests.unit.oracle_market import CHAIN_ID, VERIFIER, FakeFacts, FakeMarket

KEYS = sorted((Account.from_key(bytes([n]) * 32) for n in (1, 2, 3)), key=lambda key: int(key.address, 16))
URLS = tuple(f"http://watcher-{n}.test" for n in range(3))
RECEIPT = make_bundle().receipt
OTHER = replace(RECEIPT, job_id=b"\x77" * 32)

Handler = Callable[[dict[str, Any]], fetch.Answer]


def signed(key: Any, *, batched: bool = False) -> Handler:
    def handle(body: dict[str, Any]) -> fetch.Answer:
        receipts = [Receipt.from_json(row["receipt"]) for row in body["rows"]]
        signature = sign(digest(receipts, CHAIN_ID, VERIFIER, batched=batched), key)
        return fetch.Answer(200, json.dumps({"signature": "0x" + signature.hex()}).encode())

    return handle


def answers(status: int, content: Any) -> Handler:
    return lambda _: fetch.Answer(status, json.dumps(content).encode())


def refuses(*jobs: bytes) -> Handler:
    rows = [{"jobId": "0x" + job.hex(), "check": "output.hash", "reason": "differs"} for job in jobs]
    return answers(409, {"refused": rows})


def fails(_: dict[str, Any]) -> fetch.Answer:
    raise fetch.FetchFailed("http://watcher.test", "ConnectTimeout")


class Watchers:
    """Handlers by URL in place of HTTP."""

    def __init__(self, handlers: list[Handler]) -> None:
        self.by_url = {f"{url}/cosign": handler for url, handler in zip(URLS, handlers, strict=False)}

    def post(self, url: str, body: Any, *, limit: int, timeout_s: float) -> fetch.Answer:
        return self.by_url[url](json.loads(json.dumps(body)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield made
    made.close()


def collect(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    handlers: list[Handler],
    *,
    threshold: int = 2,
    receipts: tuple[Receipt, ...] = (RECEIPT,),
    **settings: Any,
) -> quorum.Outcome:
    monkeypatch.setattr(fetch, "post", Watchers(handlers).post)
    market = FakeMarket()
    market.watchers[1] = ({key.address for key in KEYS}, threshold)
    asked = Quorum(
        QuorumSettings.model_validate({"watchers": URLS[: len(handlers)], "timeout_s": 5, **settings}),
        FakeFacts(market),  # type: ignore[arg-type]
        store,
    )
    rows = [Row(receipt, "http://provider.test/bundle") for receipt in receipts]
    return asked.collect(rows, 1, batched=len(rows) > 1)


@pytest.mark.parametrize(
    "bad",
    [
        fails,
        answers(500, {"error": {"message": "broken"}}),
        answers(200, {"signature": "0x00"}),
        answers(200, {"signature": 7}),
        answers(200, ["no object"]),
        answers(409, {"refused": []}),
        answers(409, {"refused": [{"jobId": "0x12"}]}),
        signed(Account.from_key(b"\x09" * 32)),
        signed(KEYS[0]),
        lambda _: fetch.Answer(200, b"<html>"),
    ],
)
def test_collect__one_honest_and_one_bad_watcher__is_not_enough(
    store: Store, monkeypatch: pytest.MonkeyPatch, bad: Handler
) -> None:
    found = collect(store, monkeypatch, [signed(KEYS[0]), bad])
    assert not found.enough
    assert len(found.signatures) == 1


def test_collect__signature_over_something_else__does_not_count(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(store, monkeypatch, [signed(KEYS[0], batched=True), signed(KEYS[1], batched=True)])
    assert not found.enough
    assert found.signatures == ()


def test_collect__set_that_is_not_in_force__is_never_enough(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not collect(store, monkeypatch, [signed(key) for key in KEYS], threshold=0).enough


def test_collect__watcher_that_lies_about_its_name__is_known_by_its_signature(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(body: dict[str, Any]) -> fetch.Answer:
        content = json.loads(signed(KEYS[0])(body).body) | {"watcher": KEYS[1].address}
        return fetch.Answer(200, json.dumps(content).encode())

    assert not collect(store, monkeypatch, [signed(KEYS[0]), lying]).enough


def test_collect__enough__are_sorted_and_cut_to_the_threshold(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(store, monkeypatch, [signed(key) for key in reversed(KEYS)])
    assert found.enough
    message = digest([RECEIPT], CHAIN_ID, VERIFIER, batched=False)
    signers = [int(recover(message, signature), 16) for signature in found.signatures]
    assert len(signers) == 2
    assert signers == sorted(signers)


def test_collect__threshold_reached__does_not_wait_for_the_slow_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()

    def slow(_: dict[str, Any]) -> fetch.Answer:
        free.wait(30)
        return fails({})

    found = collect(store, monkeypatch, [slow, signed(KEYS[1]), signed(KEYS[2])])
    free.set()
    assert found.enough


def test_collect__stopping__is_cut_short(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free, stopping = threading.Event(), threading.Event()

    def slow(_: dict[str, Any]) -> fetch.Answer:
        free.wait(30)
        return fails({})

    monkeypatch.setattr(fetch, "post", Watchers([slow]).post)
    stopping.set()
    settings = QuorumSettings.model_validate({"watchers": URLS[:1]})
    asked = Quorum(settings, FakeFacts(FakeMarket()), store, stopping)  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        asked.collect([Row(RECEIPT, "http://provider.test/bundle")], 1, batched=False)
    free.set()


def test_collect__batch__is_signed_over_the_list(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = [signed(key, batched=True) for key in KEYS]
    assert collect(store, monkeypatch, handlers, receipts=(RECEIPT, OTHER)).enough


def test_collect__row_refused_beyond_the_threshold__is_hopeless_and_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [refuses(OTHER.job_id), refuses(OTHER.job_id), signed(KEYS[2], batched=True)]
    found = collect(store, monkeypatch, handlers, receipts=(RECEIPT, OTHER))
    assert list(found.hopeless) == [OTHER.job_id]
    assert "output.hash: differs" in found.reason
    assert {item.watcher for item in store.refusals(OTHER.job_id)} == {fetch.origin(url) for url in URLS[:2]}


def test_collect__refused_by_few__is_not_hopeless(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = collect(store, monkeypatch, [refuses(RECEIPT.job_id), fails, signed(KEYS[2])])
    assert found.hopeless == {}
    assert not found.enough


def test_collect__bug_in_our_own_code__is_raised(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: dict[str, Any]) -> fetch.Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        collect(store, monkeypatch, [bug])


def test_digest__several_without_a_batch__raises() -> None:
    with pytest.raises(BadInput):
        digest([RECEIPT, OTHER], CHAIN_ID, VERIFIER, batched=False)


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
