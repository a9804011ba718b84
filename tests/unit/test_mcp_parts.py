"""Parts of the MCP server: keys, errands, the call's cap, tokens and words. No chain, no client."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from agents import cli_mcp
from agents.ledger import LimitReached
from agents.market import Listing
from agents.mcp.account import in_doubt, mark, mined
from agents.mcp.agent import CallPurse
from agents.mcp.errands import MOST_RUNNING, Errand, Errands, Stopped, TooMuch
from agents.mcp.failures import words
from agents.mcp.http import OneToken, read_token
from agents.mcp.orders import Kept, KeyTaken, Orders, OrderState, content_of
from agents.mcp.work import MOST_OUTPUT, output_of
from agents.policy import Choice, Means, Need
from scrip.budgets import BudgetRefused
from scrip.cli.main import app
from scrip.cli.output import Token
from scrip.errors import BadInput, KeyProblem
from scrip.journal import InMemoryJournal, TxRecord
from scrip.spec import JobSpec
from scrip.types import Resource
from tests.unit.agent_factory import listing

USD = Token("0x" + "11" * 20, "dUSD", 6)
SECONDS = 20.0
NEED = Need(JobSpec("hash.chain", {}), Resource.CPU_SECOND, 10)


# Keys


def order(key: str = "k", **changes: Any) -> Kept:
    return replace(Kept(key, "redeem", content_of({"a": 1}), OrderState.BEGUN, {"units": "5"}), **changes)


@pytest.mark.parametrize("key", ["", "a b", "x" * 65, "ключ", "a/b", "a\n"])
def test_key__malformed__is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(BadInput, match="idempotency_key"):
        Orders(tmp_path / "orders").find(key)


@pytest.mark.parametrize("change", [{"tool": "buy"}, {"content": content_of({"a": 2})}])
def test_claim__key_of_another_request__is_refused_and_the_first_stays(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    orders = Orders(tmp_path / "orders")
    orders.claim(order())
    with pytest.raises(KeyTaken, match="new key"):
        orders.claim(order(**change))
    assert orders.find("k") == order()


def test_claim__again__gives_what_was_resolved_first(tmp_path: Path) -> None:
    Orders(tmp_path / "orders").claim(order())
    assert Orders(tmp_path / "orders").claim(order(data={"units": "9"})).data == {"units": "5"}


def test_claim__by_many_at_once__one_resolution_counts(tmp_path: Path) -> None:
    orders, found = Orders(tmp_path / "orders"), []
    threads = [
        threading.Thread(target=lambda n=n: found.append(orders.claim(order(data={"units": str(n)})).data))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(found) == 8
    assert len({item["units"] for item in found}) == 1


def test_orders__file__is_the_owners_alone(tmp_path: Path) -> None:
    Orders(tmp_path / "orders")
    assert (tmp_path / "orders").stat().st_mode & 0o777 == 0o600


# Errands


def test_start__same_key_under_way__is_joined() -> None:
    errands, release, runs = Errands(), threading.Event(), []

    def work(errand: Errand) -> str:
        runs.append(errand.key)
        assert release.wait(SECONDS)
        return "done"

    first, second = (errands.start("redeem", "k", "c", work) for _ in range(2))
    release.set()
    assert first is second
    assert first.done.wait(SECONDS)
    assert (first.result, runs) == ("done", ["k"])
    assert errands.start("redeem", "k", "c", work) is first


def test_start__same_key_after_a_failure__is_begun_anew() -> None:
    errands = Errands()

    def fail(_: Errand) -> None:
        raise BadInput("x", 1, "2")

    first = errands.start("redeem", "k", "c", fail)
    assert first.done.wait(SECONDS)
    second = errands.start("redeem", "k", "c", lambda _: "done")
    assert second.done.wait(SECONDS)
    assert (second.result, second.error) == ("done", None)


def test_start__same_key_for_something_else__is_refused() -> None:
    errands, release = Errands(), threading.Event()
    errands.start("redeem", "k", "c", lambda _: release.wait(SECONDS))
    for tool, content in (("redeem", "other"), ("buy", "c")):
        with pytest.raises(KeyTaken):
            errands.start(tool, "k", content, lambda _: None)
    release.set()


def test_start__too_many_at_once__is_refused() -> None:
    errands, release = Errands(), threading.Event()
    for number in range(MOST_RUNNING):
        errands.start("redeem", str(number), "c", lambda _: release.wait(SECONDS))
    with pytest.raises(TooMuch, match="Wait for one"):
        errands.start("redeem", "more", "c", lambda _: None)
    release.set()


def test_stop__work_that_pauses__ends_with_a_next_step() -> None:
    errands = Errands()
    errand = errands.start("redeem", "k", "c", lambda _: errands.sleep(SECONDS))
    errands.stop()
    assert errand.done.wait(SECONDS)
    assert isinstance(errand.error, Stopped)
    assert "idempotency_key" in words(errand.error, USD)


# Purchases that may be on chain


class Books:
    """A node and a journal with one transaction of the key "k", signed at nonce 3."""

    def __init__(self, *, latest: int, final: int, receipt: dict[str, int] | None, key: str = "k") -> None:
        self.chain, self.address, self.journal = self, "0x" + "33" * 20, InMemoryJournal()
        self.chain_id, self._nonces, self._receipt = 1, {"latest": latest, 7: final}, receipt
        label = f"buy 5 of class 1 {mark(key)}"
        self.journal.record(
            TxRecord(label, 1, self.address, 3, b"\x01" * 32, b"", self.address, b"", 0, 1, 1, 1)
        )

    def nonce(self, _: str, block: object) -> int:
        return self._nonces[block]  # type: ignore[index]

    def finalized(self) -> int:
        return 7

    def receipt(self, _: bytes) -> dict[str, int] | None:
        return self._receipt


@pytest.mark.parametrize(
    ("latest", "final", "receipt", "key", "bought", "doubt"),
    [
        (4, 4, {"status": 1}, "k", 1, False),
        (4, 4, {"status": 0}, "k", 0, False),  # reverted
        (3, 3, None, "k", 0, True),  # signed, and this node has not seen it, or lags behind
        (4, 3, None, "k", 0, True),  # the nonce is used, not for good yet
        (4, 4, None, "k", 0, False),  # another transaction took it for good
        (4, 4, {"status": 1}, "other", 0, False),
    ],
)
def test_mined__and_in_doubt__by_what_the_node_shows(
    latest: int, final: int, receipt: dict[str, int] | None, key: str, bought: int, doubt: bool
) -> None:
    books: Any = Books(latest=latest, final=final, receipt=receipt, key=key)
    assert len(mined(books, "k", 3)) == bought
    assert in_doubt(books, "k", 3) is doubt


# The cap of a call


class Wallet:
    """A purse that sells everything at its price."""

    chain = sender = wallet = None
    payer, budget_id = "0x" + "22" * 20, 0

    def __init__(self, left: int) -> None:
        self._left = left

    def means(self, market: Any, need: Any) -> Means:
        return Means(self._left)

    def acquire(self, choice: Choice, need: Any) -> int:
        self._left -= choice.cost
        return choice.cost


def choice_of(cost: int) -> Choice:
    found: Listing = listing()
    return Choice(found, 1, cost, "", ())


def test_call_purse__providers_fail_one_after_another__purchases_stay_within_the_cap() -> None:
    purse: Any = CallPurse(Wallet(1_000), cap=100)  # type: ignore[arg-type]
    assert purse.means([], NEED).left == 100
    purse.acquire(choice_of(70), NEED)
    assert purse.means([], NEED).left == 30
    purse.acquire(choice_of(30), NEED)
    assert purse.means([], NEED).left == 0


def test_call_purse__taken_up_after_a_kill__counts_what_was_bought_before() -> None:
    purse: Any = CallPurse(Wallet(1_000), cap=100, bought=90)  # type: ignore[arg-type]
    assert purse.means([], NEED).left == 10


def test_call_purse__less_left_than_the_cap__says_what_is_left() -> None:
    purse: Any = CallPurse(Wallet(40), cap=100)  # type: ignore[arg-type]
    assert purse.means([], NEED).left == 40


# Words and outputs


def test_words__limit_reached__amounts_as_people_count() -> None:
    text = words(LimitReached(1_500_000, 250_000, 1_000_000), USD)
    assert "asked 1.5 dUSD, left 0.25 dUSD of 1 dUSD" in text


def test_words__budget_refused__names_level_amounts_and_next_step() -> None:
    text = words(BudgetRefused(7, "OverPeriod", 2_000_000, 500_000), USD)
    assert "budget 7" in text
    assert "asked 2 dUSD, left 0.5 dUSD" in text
    assert "next period" in text


def test_words__text_from_outside__is_one_harmless_line_of_bounded_length() -> None:
    text = words(BadInput("provider's reason\n\x1b[31m" + "x" * 5_000, 1, "short"), USD)
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) <= 2_000


def test_output__long_or_binary__is_labelled_and_cut() -> None:
    long, binary = output_of(b"a" * (MOST_OUTPUT + 1)), output_of(b"\xff\x00")
    assert (long.truncated, len(long.content), long.bytes) == (True, MOST_OUTPUT, MOST_OUTPUT + 1)
    assert (binary.encoding, binary.content, binary.truncated) == ("base64", "/wA=", False)
    assert binary.sha256 == hashlib.sha256(b"\xff\x00").hexdigest()
    assert all(item.untrusted and "not instructions" in item.notice for item in (long, binary))


# The token


def test_read_token__missing__is_made_for_the_owner_alone(tmp_path: Path) -> None:
    said: list[str] = []
    token = read_token(tmp_path / "token", said.append)
    assert len(token) >= 32
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert token == read_token(tmp_path / "token", said.append)
    assert len(said) == 1
    assert token not in said[0]


@pytest.mark.parametrize(("text", "mode"), [("short", 0o600), ("a b" * 20, 0o600), ("x" * 40, 0o644)])
def test_read_token__weak_or_open_to_others__is_refused(tmp_path: Path, text: str, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(KeyProblem) as caught:
        read_token(path, lambda _: None)
    assert text not in str(caught.value)


def test_verify_token__only_the_one() -> None:
    one = OneToken("x" * 40)
    assert anyio.run(one.verify_token, "x" * 40) is not None
    for wrong in ("", "x" * 39, "ключ"):
        assert anyio.run(one.verify_token, wrong) is None


# The command


def test_command__packages_missing__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mcp", None)
    for name in [name for name in sys.modules if name.startswith(("mcp.", "agents.mcp."))]:
        monkeypatch.delitem(sys.modules, name)
    result = CliRunner().invoke(app, ["agent", "mcp", "--limit", "1"])
    assert result.exit_code == 1
    assert "pip install 'scrip[mcp]'" in result.stderr
    assert "mcp" in cli_mcp.PACKAGES
