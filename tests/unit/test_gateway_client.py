"""The client that pays by vouchers: what it refuses to sign or believe, and that it loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from scrip.call_receipts import ReceiptWrong, check_chain
from scrip.errors import BadInput, Refused
from scrip.gateway_client import VoucherAuth, auth_type
from scrip.session_payer import OverCap
from tests.unit.gateway_factory import CHAIN_ID, SESSIONS, Till
from tests.unit.gateway_server import Gateway, auth_of, serving


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    till = Till(tmp_path / "provider")
    with serving(till) as made:
        yield made
    till.store.close()


def ask(gateway: Gateway, auth: VoucherAuth, tokens: int, most: int = 0, **more: Any) -> httpx.Response:
    body = {"tokens": tokens, "most": most or tokens} | more
    return httpx.post(gateway.url + "/v1/chat/completions", json=body, auth=auth, trust_env=False)


def charged(gateway: Gateway, auth: VoucherAuth) -> int:
    return gateway.till.accounts.view(auth.payer.terms.session).charged


# What isn't signed


def test_call__dearer_than_one_may_be__is_not_paid(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened(), call_cap=50)
    with pytest.raises(OverCap, match="a call may cost 50"):
        ask(gateway, auth, 51)
    assert ask(gateway, auth, 50).status_code == 200
    assert charged(gateway, auth) == 50


def test_calls__dearer_than_the_cap_together__are_not_paid(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened(), cap=100)
    assert ask(gateway, auth, 60).status_code == 200
    with pytest.raises(OverCap, match="100 are allowed"):
        ask(gateway, auth, 41)
    assert ask(gateway, auth, 40).status_code == 200
    assert gateway.till.accounts.view(auth.payer.terms.session).authorised == 100


def test_session__not_on_chain__is_refused_with_the_reason(gateway: Gateway) -> None:
    terms = gateway.till.sessions.opened()
    gateway.till.sessions.slots.clear()
    with pytest.raises(Refused, match="no such session"):
        ask(gateway, auth_of(gateway, terms), 5)


# What isn't believed


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"units": 11, "total_units": 11}, "cost 10 at the offered rate"),
        ({"total_units": 12}, "totalUnits 12, must be 0"),
        ({"previous": b"\x01" * 32}, "doesn't follow"),
        ({"request_hash": b"\x01" * 32}, "another request"),
        ({"session_id": b"\x01" * 32}, "another session"),
        ({"model": b"\x01" * 32}, "model without a rate"),
        ({"cached_tokens": 11}, "part of the input"),
    ],
)
def test_receipt__wrong__ends_the_payments(gateway: Gateway, change: dict[str, Any], wrong: str) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    gateway.tamper = change
    with pytest.raises(ReceiptWrong, match=wrong):
        ask(gateway, auth, 10)
    gateway.tamper = {}
    with pytest.raises(ReceiptWrong, match=wrong):
        ask(gateway, auth, 10)
    assert len(gateway.receipts) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_receipt__for_another_answer__is_wrong(gateway: Gateway, stream: bool) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    gateway.wrong_body = True
    with pytest.raises(ReceiptWrong, match="another answer"):
        ask(gateway, auth, 10, stream=stream)
    with pytest.raises(ReceiptWrong, match="another answer"):
        ask(gateway, auth, 10)


def test_receipt__signed_twice_with_one_number__is_wrong(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    ask(gateway, auth, 10)
    gateway.tamper = {"number": 1}
    with pytest.raises(ReceiptWrong, match="two receipts with this number"):
        ask(gateway, auth, 10)


def test_receipt__of_another_key__is_wrong(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    auth.payer.terms = type(auth.payer.terms)(**{
        name: getattr(auth.payer.terms, name) for name in auth.payer.terms.__dataclass_fields__
    } | {"oracle": SESSIONS})  # fmt: skip
    with pytest.raises(ReceiptWrong, match="must be the oracle key"):
        ask(gateway, auth, 10)


# What is paid


def test_calls__one_after_the_other__cost_what_they_used(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    for tokens in (10, 3, 40, 7):
        assert ask(gateway, auth, tokens, most=tokens + 60).status_code == 200
    assert charged(gateway, auth) == auth.payer.charged == 60
    assert auth.payer.after == 4


def test_calls__in_parallel__all_are_paid_and_receipts_are_one_chain(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened(10_000), call_cap=5_000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda tokens: ask(gateway, auth, tokens, most=100), range(1, 41)))
    assert [answer.status_code for answer in answers] == [200] * 40
    ordered = sorted((one.receipt for one in gateway.receipts), key=lambda one: one.number)
    last = check_chain(ordered, CHAIN_ID, SESSIONS)
    assert last is not None
    assert auth.payer.charged == last.total_units == sum(range(1, 41))
    assert auth.payer.last is not None
    assert auth.payer.last.receipt == last


def test_stream__receipt_after_its_end__is_taken(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    assert b"[DONE]" in ask(gateway, auth, 9, stream=True).content
    assert (auth.payer.charged, auth.payer.behind) == (9, False)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_stream__left_at_its_done__receipt_is_still_taken(gateway: Gateway, library: Any) -> None:
    plain = auth_of(gateway, gateway.till.sessions.opened())
    auth = auth_type(library)(plain.payer, plain._terms, plain._endpoint, plain._signed)
    with library.Client(auth=auth, trust_env=False) as client:
        url, body = gateway.url + "/v1/chat/completions", {"tokens": 9, "most": 9, "stream": True}
        with client.stream("POST", url, json=body) as response:
            for line in response.iter_lines():
                if line == "data: [DONE]":
                    break
    assert (auth.payer.charged, auth.payer.idle) == (9, True)


def test_async_client__pays_too(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())

    async def work() -> list[int]:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            url = gateway.url + "/v1/chat/completions"
            bodies = [{"tokens": 5, "most": 50, "stream": number % 2 == 0} for number in range(6)]
            return [
                found.status_code
                for found in await asyncio.gather(*(client.post(url, json=b) for b in bodies))
            ]

    assert asyncio.run(work()) == [200] * 6
    assert auth.payer.idle
    assert charged(gateway, auth) == 30


def test_answer__lost_with_its_receipt__is_asked_for_before_the_next_call(gateway: Gateway) -> None:
    auth = auth_of(gateway, gateway.till.sessions.opened())
    gateway.lose = 1
    assert ask(gateway, auth, 10).status_code == 200
    assert auth.payer.charged == 0
    ask(gateway, auth, 5)
    assert (auth.payer.charged, auth.payer.after) == (15, 2)


# Restarts


def test_restart__of_the_client__goes_on_where_it_was(gateway: Gateway, tmp_path: Path) -> None:
    terms, path = gateway.till.sessions.opened(), tmp_path / "session.json"
    first = auth_of(gateway, terms, path=path)
    ask(gateway, first, 10)
    ask(gateway, first, 20)
    again = auth_of(gateway, terms, path=path)
    assert (again.payer.charged, again.payer.after) == (30, 2)
    ask(gateway, again, 5)
    assert charged(gateway, again) == again.payer.charged == 35


def test_restart__of_the_client_without_its_file__learns_its_receipts(gateway: Gateway) -> None:
    terms = gateway.till.sessions.opened()
    ask(gateway, auth_of(gateway, terms), 10)
    again = auth_of(gateway, terms)
    ask(gateway, again, 5)
    assert (again.payer.charged, again.payer.after) == (15, 2)


def test_lost_state__of_the_provider__client_restores_it_by_itself(gateway: Gateway, tmp_path: Path) -> None:
    terms = gateway.till.sessions.opened()
    auth = auth_of(gateway, terms, path=tmp_path / "session.json")
    ask(gateway, auth, 10)
    ask(gateway, auth, 20)
    till = gateway.till
    till.store.close()
    for file in till.folder.glob("oracle.db*"):
        file.unlink()
    old = till.accounts
    till.start()
    # The app holds the old object; let it be the new process.
    old.__dict__.update(till.accounts.__dict__)
    assert ask(gateway, auth, 5).status_code == 200
    assert (auth.payer.charged, auth.payer.after, charged(gateway, auth)) == (35, 3, 35)


def test_state_file__of_another_session_or_broken__is_refused(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    auth_of(gateway, gateway.till.sessions.opened(), path=path).payer.begin(5)
    with pytest.raises(BadInput, match="the state of session"):
        auth_of(gateway, gateway.till.sessions.opened(), path=path)
    path.write_text("{}")
    with pytest.raises(BadInput):
        auth_of(gateway, gateway.till.sessions.opened(), path=path)
    assert path.stat().st_mode & 0o077 == 0
