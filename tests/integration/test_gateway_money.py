"""Session accounts of a provider's daemon on real contracts: opened, spent, claimed, closed, and killed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_utils.crypto import keccak
from sqlalchemy import select
from typer.testing import CliRunner

from oracle.gateway.accounts import CallUsage, SessionClosing, SessionRefused, TokenBounds
from oracle.gateway.claim_book import ClaimBook, ClaimStage
from oracle.gateway.service import Gateway
from oracle.gateway.tables import ClaimRow, SessionRow
from oracle.store import Store
from scrip import sessions
from scrip.chain import Chain
from scrip.cli.main import app
from scrip.errors import Refused
from scrip.sender import Sender
from scrip.session_api import SessionApi
from scrip.sessions import SessionInfo
from scrip.signed_requests import SignedBy
from scrip.types import Resource
from scrip.vouchers import Voucher, sign_voucher
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import System, account

HELD, DEPOSIT = 1_000_000, 10_000
UNIT = 1_000_000
PRICE = 1_000 * 10**9
KEY = "session key"


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def class_id(place: OracleLab) -> int:
    return place.system.create_class(resource=Resource.OUTPUT_TOKEN, max_rate=10**9, min_assurance=1)


@pytest.fixture
def buyer(place: OracleLab, class_id: int) -> Sender:
    return place.buy(class_id, HELD)


def start(place: OracleLab, class_id: int, **gateway: Any) -> Gateway:
    """The provider's daemon, with a token for a unit; claims only where a test says so."""
    rates = [{"model": "smol", "class_id": class_id, "input": UNIT, "output": UNIT}]
    rules = {"rates": rates, "claim_units": HELD, "claim_age_s": 86_400, "claim_retry_s": 1} | gateway
    running = place.start("provider", place.provider_settings(gateway=rules))
    found: Gateway = running.daemon._cycle._node.gateway  # type: ignore[attr-defined]
    place.wait(lambda: found.accounts._looked is not None)  # until then no call is served
    return found


def opened(
    place: OracleLab, buyer: Sender, class_id: int, deposit: int = DEPOSIT, **terms: Any
) -> SessionInfo:
    made = sessions.terms_for(
        place.chain, buyer.address, place.provider, class_id, account(KEY).address, **terms
    )
    return sessions.open_session(place.chain, buyer, made, deposit)


def taken(gateway: Gateway, info: SessionInfo) -> bytes:
    return gateway.accounts.open(info.terms).session


def voucher(place: OracleLab, session: bytes, units: int) -> Voucher:
    at = place.chain.address("MeteredSessions")
    return sign_voucher(session, units, account(KEY), place.chain.chain_id, at)


def usage(units: int) -> CallUsage:
    return CallUsage(0, 0, units, keccak(b"asked"), keccak(b"answered"), 1, 2)


def call(place: OracleLab, gateway: Gateway, session: bytes, units: int) -> None:
    """A call that costs `units`, under a voucher over what it needs."""
    charged = gateway.accounts.view(session).charged
    held = gateway.accounts.reserve(voucher(place, session, charged + units), "smol", TokenBounds(0, units))
    gateway.accounts.charge(held, usage(units))


def claimed(place: OracleLab, session: bytes) -> int:
    return place.chain.at().session(session).claimed


def claims(gateway: Gateway) -> list[ClaimRow]:
    with gateway.accounts.book.store.reading() as db:
        return list(db.scalars(select(ClaimRow).order_by(ClaimRow.id)))


def api(place: OracleLab, name: str = KEY) -> SessionApi:
    auth = SignedBy(account(name), place.chain.chain_id, place.chain.address("JobMarket"))
    return SessionApi(place.url, auth=auth)


# What isn't taken


def test_open__key_that_is_a_contract__is_refused(place: OracleLab, class_id: int, buyer: Sender) -> None:
    gateway = start(place, class_id)
    made = sessions.terms_for(
        place.chain, buyer.address, place.provider, class_id, place.chain.address("DemoUSD")
    )
    info = sessions.open_session(place.chain, buyer, made, DEPOSIT)
    with pytest.raises(SessionRefused, match="is a contract"):
        gateway.accounts.open(info.terms)


def test_open__class_without_rates_or_session_not_on_chain__is_refused(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    gateway = start(place, class_id + 1)
    info = opened(place, buyer, class_id)
    with pytest.raises(SessionRefused, match=f"no rates for class {class_id}"):
        gateway.accounts.open(info.terms)
    place.stop("provider")
    gateway = start(place, class_id)
    never = sessions.terms_for(place.chain, buyer.address, place.provider, class_id, account(KEY).address)
    with pytest.raises(SessionRefused, match="no such session"):
        gateway.accounts.open(never)
    with api(place) as client, pytest.raises(Refused, match="no such session"):
        client.open_session(never)


# The life of a session


def test_session__spent_claimed_and_closed__nobody_loses_a_unit(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    gateway = start(place, class_id, claim_units=500)
    info = opened(place, buyer, class_id)
    session = taken(gateway, info)
    call(place, gateway, session, 499)
    assert claims(gateway) == []
    call(place, gateway, session, 301)
    place.wait(lambda: claimed(place, session) == 800)
    place.wait(lambda: gateway.accounts.view(session).claimed == 800)
    in_progress = gateway.accounts.reserve(voucher(place, session, 1_500), "smol", TokenBounds(0, 700))
    sessions.request_close(place.chain, buyer, info.terms)
    place.wait(lambda: gateway.accounts.view(session).close_at != 0)
    with pytest.raises(SessionClosing):
        call(place, gateway, session, 1)
    gateway.accounts.charge(in_progress, usage(123))
    place.wait(lambda: claimed(place, session) == 923)
    place.system.anvil.rpc("evm_increaseTime", 31 * 86_400)
    place.system.anvil.rpc("evm_mine")
    ended = sessions.close(place.chain, buyer, info.terms)
    assert (ended.state.closed, ended.state.claimed) == (True, 923)
    assert place.chain.at().available(buyer.address, class_id) == HELD - 923
    place.wait(lambda: gateway.accounts.view(session).closed)
    token = place.chain.at().class_terms(class_id).payment_token
    assert place.chain.at().earnings(place.provider, token) > 0
    place.wait(lambda: {row.stage for row in claims(gateway)} == {ClaimStage.DONE})


def test_top_up__once_seen__can_be_spent(place: OracleLab, class_id: int, buyer: Sender) -> None:
    gateway = start(place, class_id)
    info = opened(place, buyer, class_id, 100)
    session = taken(gateway, info)
    sessions.top_up(place.chain, buyer, info.terms, 50)
    place.wait(lambda: gateway.accounts.view(session).deposit == 150)
    call(place, gateway, session, 150)
    assert gateway.accounts.view(session).available == 0


def test_expiry_near__is_claimed_at_once(place: OracleLab, class_id: int, buyer: Sender) -> None:
    gateway = start(place, class_id, claim_margin_s=3_600)
    info = opened(place, buyer, class_id, lifetime_s=1_800)
    session = taken(gateway, info)
    call(place, gateway, session, 5)
    place.wait(lambda: claimed(place, session) == 5)


def test_batch__one_row_is_bad__the_others_are_paid_and_it_is_kept(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    gateway = start(place, class_id)
    found = [taken(gateway, opened(place, buyer, class_id)) for _ in range(4)]
    for session in found:
        call(place, gateway, session, 50)
    bad = found[1]
    # A voucher that doesn't verify on chain, as if the store had been changed by other hands.
    with gateway.accounts.book.store.writing() as db:
        for row in db.query(SessionRow):
            row.owed_ms = 1
            if row.session_id == bad:
                row.signature = bytes(64) + b"\x1b"
    gateway.claims._settings = gateway.settings.model_copy(update={"claim_age_s": 1})
    place.wait(lambda: all(claimed(place, one) == 50 for one in found if one != bad))
    assert claimed(place, bad) == 0

    def reason() -> str:
        row = gateway.accounts.book.session(bad)
        assert row is not None
        return row.claim_reason

    place.wait(lambda: "BadSignature" in reason())
    dropped = [row for row in claims(gateway) if row.stage == ClaimStage.DROPPED]
    assert dropped
    assert dropped[0].tx_hash is None


# Killed


def test_killed_between_intent_and_send__claims_once(place: OracleLab, class_id: int, buyer: Sender) -> None:
    gateway = start(place, class_id)
    session = taken(gateway, opened(place, buyer, class_id))
    call(place, gateway, session, 70)
    row = gateway.accounts.book.session(session)
    assert row is not None
    place.stop("provider")
    store = Store.open(f"sqlite:///{place.folder / 'provider' / 'oracle.db'}")
    book = ClaimBook(store)
    claim = book.advance(book.form([row]), ClaimStage.SENDING)  # and here the process died
    store.close()
    gateway = start(place, class_id)
    place.wait(lambda: claimed(place, session) == 70)
    place.wait(lambda: gateway.claims.live() == [])
    (only,) = claims(gateway)
    assert (only.id, only.stage, only.tries) == (claim.id, ClaimStage.DONE, 1)


def test_killed_after_the_send__is_not_sent_again(place: OracleLab, class_id: int, buyer: Sender) -> None:
    gateway = start(place, class_id)
    session = taken(gateway, opened(place, buyer, class_id))
    call(place, gateway, session, 70)
    place.system.anvil.rpc("evm_setAutomine", False)
    gateway.claims._settings = gateway.settings.model_copy(update={"claim_units": 1})
    oracle = account("oracle").address
    pending = place.chain.nonce(oracle) + 1
    place.wait(lambda: place.chain.nonce(oracle, "pending") == pending)
    place.stop("provider")
    gateway = start(place, class_id)
    place.system.anvil.rpc("evm_setAutomine", True)
    place.system.anvil.rpc("evm_mine")
    place.wait(lambda: gateway.claims.live() == [])
    assert claimed(place, session) == 70
    assert place.chain.nonce(oracle) == pending
    (only,) = claims(gateway)
    assert only.stage == ClaimStage.DONE


def test_lost_database__session_and_receipts_go_on(place: OracleLab, class_id: int, buyer: Sender) -> None:
    gateway = start(place, class_id, claim_units=500)
    info = opened(place, buyer, class_id)
    session = taken(gateway, info)
    call(place, gateway, session, 600)
    place.wait(lambda: claimed(place, session) == 600)
    call(place, gateway, session, 40)
    with api(place) as client:
        last = list(client.calls(session))[-1]
    assert last.receipt.total_units == 640
    place.stop("provider")
    for file in (place.folder / "provider").glob("oracle.db*"):
        file.unlink()
    for mark in (place.folder / "provider" / "evidence").glob("*"):
        mark.unlink()
    gateway = start(place, class_id)
    view = gateway.accounts.open(info.terms)
    assert (view.charged, view.calls) == (600, 0)
    shown = voucher(place, session, 640)
    with api(place) as client:
        body = last.to_json() | {"voucher": {"units": "640", "signature": "0x" + shown.signature.hex()}}
        found = client._json("POST", f"/v1/scrip/sessions/0x{session.hex()}/restore", json=body)
    assert (found["charged"], found["calls"]) == ("640", 2)
    call(place, gateway, session, 10)
    assert gateway.accounts.view(session).charged == 650


# Over HTTP


def test_endpoints__of_an_account__are_for_its_parties(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    start(place, class_id)
    info = opened(place, buyer, class_id)
    with api(place) as client:
        assert client.open_session(info.terms)["deposit"] == str(DEPOSIT)
        session = info.session
        assert client.authorise(voucher(place, session, 70))["authorised"] == "70"
        made = client.make_key(session, {"capUnits": "50", "models": ["smol"], "callsPerMinute": 5})
        assert made["secret"].startswith("sk-scrip-")
        (listed,) = client.keys(session)
        assert "secret" not in listed
        client.revoke(session, made["keyId"])
        assert client.keys(session)[0]["revokedMs"] > 0
        with pytest.raises(Refused, match="isn't offered"):
            client.make_key(session, {"capUnits": "50", "models": ["gpt"]})
    with api(place, "buyer") as client:
        assert client.session(session)["authorised"] == "70"
    with api(place, "stranger") as client, pytest.raises(Refused, match="for the session's payer"):
        client.session(session)
    url = f"{place.url}/v1/scrip/sessions/0x{session.hex()}"
    assert httpx.get(url, trust_env=False).status_code == 401
    unsigned = httpx.post(url + "/vouchers", json={"units": "1", "signature": "0x"}, trust_env=False)
    assert unsigned.status_code == 401


def test_command_line__a_session_and_its_keys(place: OracleLab, class_id: int, buyer: Sender) -> None:
    """Through `scrip`, as a payer who signs the vouchers too."""
    gateway = start(place, class_id)
    keystore = place.funded_keystore("buyer")
    common = ["--json", "--rpc", place.system.anvil.url, "--deployment", str(place.folder / "deployments")]
    common += ["--keystore", str(keystore), "--password-file", str(place.folder / "password")]
    common += ["--state", str(place.folder / "cli")]

    def run(*args: str) -> Any:
        result = CliRunner().invoke(app, [*common, "session", *args])
        assert result.exit_code == 0, result.output
        answer = result.stdout[re.search(r"^\{$", result.stdout, re.MULTILINE).start() :]  # type: ignore[union-attr]
        return json.JSONDecoder().raw_decode(answer)[0]  # the daemon in this process logs to the same stream

    made = run("open", place.provider, str(class_id), "10")
    session = made["session"]
    assert (made["status"], made["deposit"]["units"]) == ("open", "10000")
    assert run("topup", session, "5")["deposit"]["credits"] == "15"
    key = run("key", "create", session, "2.5", "--per-minute", "7")
    assert key["cap"]["units"] == "2500"
    view = gateway.accounts.view(bytes.fromhex(session[2:]))
    assert (view.authorised, view.deposit) == (2_500, 15_000)
    assert [one["keyId"] for one in run("key", "list", session)["keys"]] == [key["keyId"]]
    run("key", "revoke", session, key["keyId"])
    assert [one["revoked"] for one in run("key", "list", session)["keys"]] == [True]
    assert [one["session"] for one in run("list")["sessions"]] == [session]
    assert run("close", session)["status"] == "closing"
    place.system.anvil.rpc("evm_increaseTime", 31 * 86_400)
    place.system.anvil.rpc("evm_mine")
    assert run("close", session)["status"] == "closed"
    assert run("show", session)["left"]["credits"] == "15"


def test_reorganisation__of_a_top_up_and_a_close__is_taken_back(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    gateway = start(place, class_id)
    info = opened(place, buyer, class_id, 100)
    session, anvil = taken(gateway, info), place.system.anvil
    before = anvil.rpc("evm_snapshot")
    place.system.send("MeteredSessions", "topUp", info.terms.to_abi(), 50, sender=buyer.address)
    place.wait(lambda: gateway.accounts.view(session).deposit == 150)
    place.system.send("MeteredSessions", "requestClose", info.terms.to_abi(), sender=buyer.address)
    place.wait(lambda: gateway.accounts.view(session).close_at != 0)
    assert anvil.rpc("evm_revert", before)
    anvil.rpc("evm_mine")
    place.wait(lambda: gateway.accounts.view(session).close_at == 0)
    assert gateway.accounts.view(session).deposit == 100
    call(place, gateway, session, 100)
