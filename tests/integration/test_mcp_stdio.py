"""The MCP server over stdio, by the official client: refusals first, then money and work on a real chain."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from demo.processes import stop_group
from scrip.chain import Chain
from scrip.eip712_sessions import session_id
from scrip.types_spending import SessionTerms
from tests.integration.mcp_lab import (
    AGENT,
    HASHES,
    ROOT,
    SECONDS,
    McpLab,
    data,
    error,
    over_stdio,
    prepare,
    run,
)
from tests.integration.oracle_lab import lab
from tests.integration.system import System

CAPS = ("--limit", "1", "--per-call", "0.01")
SLOW = {"template": "hash.chain", "params": {"seed": "0x" + "cd" * 32, "steps": 16_000_000}}
"""Seconds of work: long enough to be interrupted."""


@pytest.fixture(scope="module")
def place(fresh_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpLab]:
    """One provider for the tests of this file, each with an account state of its own."""
    snapshot = fresh_system.anvil.rpc("evm_snapshot")
    chain = Chain.connect(fresh_system.anvil.url, fresh_system.deployment)
    try:
        with lab(fresh_system, chain, tmp_path_factory.mktemp("mcp") / "lab", watchers=0) as made:
            yield prepare(made)
    finally:
        assert fresh_system.anvil.rpc("evm_revert", snapshot)


def calls(
    place: McpLab, state: Path, *wanted: tuple[str, dict[str, Any]], caps: tuple[str, ...] = CAPS
) -> list[Any]:
    """The results of calls made one after another by one client."""

    async def body() -> list[Any]:
        async with over_stdio(place, state, *caps) as client:
            return [await client.call_tool(name, arguments) for name, arguments in wanted]

    return run(body)


def test_mcp__password_missing__says_so_before_it_serves(place: McpLab, tmp_path: Path) -> None:
    env = place.env(tmp_path) | {"SCRIP_PASSWORD_FILE": str(tmp_path / "none")}
    done = subprocess.run(
        place.command(*CAPS), env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


def test_mcp__neither_limit_nor_budget__is_a_usage_error(place: McpLab, tmp_path: Path) -> None:
    done = subprocess.run(
        place.command(), env=place.env(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "--limit or --budget" in done.stderr


def test_tools__wrong_arguments__are_named_one_by_one(place: McpLab, tmp_path: Path) -> None:
    before = place.footprint()
    wrong, unknown, keyless, negative, strange = calls(
        place, tmp_path,
        ("redeem", {"template": 5, "min_assurance": 9}),
        ("redeem", {**HASHES, "dryRun": False}),
        ("redeem", {**HASHES, "dry_run": False}),
        ("buy", {"class_id": place.class_id, "credits": "-1", "dry_run": False, "idempotency_key": "n"}),
        ("status", {"job_id": "0x12"}),
    )  # fmt: skip
    text, _ = error(wrong)
    assert "template: " in text
    assert "min_assurance: " in text
    assert "params: Field required" in text
    assert "no argument dryRun" in error(unknown)[0]
    assert "retry" in error(keyless)[0]
    assert error(negative)[1]["type"] == "BadInput"
    assert "job_id" in error(strange)[0]
    assert place.footprint() == before


def test_spend__over_the_limit__is_refused_with_what_is_left(place: McpLab, tmp_path: Path) -> None:
    before, spend = place.footprint(), {"dry_run": False, "idempotency_key": "over"}
    caps = ("--limit", "0.0001", "--per-call", "1")
    work, credits = calls(
        place, tmp_path,
        ("redeem", {**HASHES, **spend}),
        ("buy", {**spend, "class_id": place.class_id, "credits": 100}),
        caps=caps,
    )  # fmt: skip
    assert "costs 0.00036 dUSD, 0.0001 dUSD of the limit is left" in error(work)[0]
    assert "asked 0.0002 dUSD, left 0.0001 dUSD of 0.0001 dUSD" in error(credits)[0]
    for refused in (work, credits):
        assert error(refused)[1]["limits"]["left"]["amount"] == "0.0001"
    assert place.footprint() == before


def test_redeem__over_the_cap_of_a_call__is_refused(place: McpLab, tmp_path: Path) -> None:
    before, caps = place.footprint(), ("--limit", "1", "--per-call", "0.0001")
    work, credits = calls(
        place, tmp_path,
        ("redeem", {**HASHES, "dry_run": False, "idempotency_key": "w"}),
        ("buy", {"class_id": place.class_id, "credits": 100, "dry_run": False, "idempotency_key": "c"}),
        caps=caps,
    )  # fmt: skip
    for refused in (work, credits):
        text, told = error(refused)
        assert told["type"] == "OverCall"
        assert "--per-call" in text
        assert told["limits"]["left"]["amount"] == "1"
    assert place.footprint() == before


def test_redeem__provider_would_never_run_it__dry_run_says_so(place: McpLab, tmp_path: Path) -> None:
    before = place.footprint()
    bad, unknown = calls(
        place, tmp_path,
        ("redeem", {"template": "hash.chain", "params": {"seed": "0xzz", "steps": 5}}),
        ("quote", {"template": "mine.bitcoin", "params": {}}),
    )  # fmt: skip
    assert "seed" in error(bad)[0]
    assert "hash.chain" in error(unknown)[0]  # what there is instead
    assert place.footprint() == before


def test_list_tools__spending_ones__say_so_and_name_their_limits(place: McpLab, tmp_path: Path) -> None:
    async def body() -> Any:
        async with over_stdio(place, tmp_path, *CAPS) as client:
            return await client.list_tools()

    tools = {tool.name: tool for tool in run(body).tools}
    assert set(tools) >= {"quote", "buy", "redeem", "status", "receipt_verify", "budget", "market"}
    spending = {name for name, tool in tools.items() if not tool.annotations.read_only_hint}
    assert spending == {"buy", "redeem"}
    for name in spending:
        tool = tools[name]
        assert tool.annotations.destructive_hint
        assert tool.annotations.idempotent_hint
        assert "0.01 dUSD a call, 1 dUSD in all" in tool.description
        assert tool.input_schema["properties"]["dry_run"]["default"] is True
    assert all(tool.output_schema is not None for tool in tools.values())


def test_dry_run__everything_checked__nothing_sent(place: McpLab, tmp_path: Path) -> None:
    before = place.footprint()
    quoted, work, credits = map(
        data,
        calls(
            place, tmp_path,
            ("quote", HASHES),
            ("redeem", HASHES),
            ("buy", {"class_id": place.class_id, "credits": "2.5"}),
        ),
    )  # fmt: skip
    assert quoted["chosen"] == work["chosen"]
    assert (
        quoted["chosen"]["price"]["base_units"] == "360"
    )  # 180 s, the template's limit, at 2 dUSD a million
    assert "lowest of 1 that fit" in quoted["chosen"]["reason"]
    assert (work["state"], work["job_id"], credits["bought"]) == ("checked", "", False)
    assert credits["cost"]["base_units"] == "5"
    assert work["idempotency_key"]
    assert credits["idempotency_key"]
    assert place.footprint() == before


def test_redeem__same_key_twice__one_job_and_a_verified_receipt(place: McpLab, tmp_path: Path) -> None:
    wanted, before = {**HASHES, "dry_run": False, "idempotency_key": "one"}, len(place.jobs())
    told: list[str] = []

    async def body() -> Any:
        async def progress(_: float, __: float | None, message: str | None) -> None:
            told.append(message or "")

        async with over_stdio(place, tmp_path, *CAPS) as client:
            first = data(await client.call_tool("redeem", wanted, progress_callback=progress))
            again = data(await client.call_tool("redeem", wanted))
            other = await client.call_tool("redeem", {**wanted, "max_credits": "1"})
            verdict = data(await client.call_tool("receipt_verify", {"job_id": first["job_id"]}))
            seen = data(await client.call_tool("status", {"job_id": first["job_id"]}))
            return first, again, other, verdict, seen

    first, again, other, verdict, seen = run(body)
    assert len(place.jobs()) == before + 1
    assert (first["state"], first["job_id"]) == (again["state"], again["job_id"])
    assert first["output"] == again["output"]
    assert first["output"]["untrusted"] is True
    assert base64.b64decode(first["output"]["content"]).startswith(b"SCRIPHC1")
    assert first["limits"]["spent"] == again["limits"]["spent"] == first["spent"]
    assert any("opening job" in step for step in told)
    assert "new key" in error(other)[0]
    assert verdict["holds"]
    assert {"receipt.onchain", "receipt.signed"} <= {line["check"] for line in verdict["lines"]}
    assert seen["job"]["status"] == "settled"


def test_buy__same_key_twice__bought_once(place: McpLab, tmp_path: Path) -> None:
    wanted = {"class_id": place.class_id, "credits": "3", "dry_run": False, "idempotency_key": "three"}
    before = place.footprint()
    first, again = map(data, calls(place, tmp_path, ("buy", wanted), ("buy", wanted)))
    once_more = data(calls(place, tmp_path, ("buy", wanted))[0])  # another process
    after = place.footprint()
    assert first["transactions"] == again["transactions"] == once_more["transactions"] != []
    assert (after[2], after[3]) == (before[2] - 6, before[3] + 3_000)
    assert once_more["limits"]["spent"]["base_units"] == "6"


def test_buy__killed_before_it_was_noted__is_found_on_chain(place: McpLab, tmp_path: Path) -> None:
    wanted = {"class_id": place.class_id, "credits": "4", "dry_run": False, "idempotency_key": "four"}
    done = data(calls(place, tmp_path, ("buy", wanted))[0])
    _forget_the_end(tmp_path)
    before = place.footprint()
    again = data(calls(place, tmp_path, ("buy", wanted))[0])
    assert again["transactions"] == done["transactions"]
    assert place.footprint() == before


def _forget_the_end(state: Path) -> None:
    """The file as a kill between the purchase and its note leaves it."""
    import sqlite3

    (path,) = state.glob("*.orders")
    with sqlite3.connect(path) as database:
        changed = database.execute("UPDATE orders SET state = 'sending' WHERE state = 'done'").rowcount
    database.close()
    assert changed == 1


def test_receipt_verify__tampered_bundle__fails_at_the_line_that_broke(place: McpLab, tmp_path: Path) -> None:
    wanted = {**HASHES, "dry_run": False, "idempotency_key": "proof"}
    job = bytes.fromhex(data(calls(place, tmp_path, ("redeem", wanted))[0])["job_id"][2:])
    raw = place.lab.private(job, "evidence", AGENT).content
    good, bad = json.loads(raw), json.loads(raw)
    bad["receipt"]["units"] = str(int(bad["receipt"]["units"]) - 1)
    (tmp_path / "bundle.json").write_bytes(raw)
    whole, filed, tampered, broken = map(
        data,
        calls(
            place, tmp_path,
            ("receipt_verify", {"bundle": good}),
            ("receipt_verify", {"file": str(tmp_path / "bundle.json")}),
            ("receipt_verify", {"bundle": bad}),
            ("receipt_verify", {"bundle": {"not": "a bundle"}}),
        ),
    )  # fmt: skip
    assert whole == filed
    assert whole["holds"]
    assert all(line["holds"] for line in whole["lines"])
    assert not tampered["holds"]
    assert [line["holds"] for line in tampered["lines"]][-1] is False
    assert tampered["lines"][-1]["check"] == "receipt.onchain"
    assert "trust neither" in tampered["meaning"]
    assert not broken["holds"]
    assert broken["lines"][0]["check"] == "bundle.format"


def test_status__session_and_balances__are_the_chains(place: McpLab, tmp_path: Path) -> None:
    lab_, buyer = place.lab, place.lab.buy(place.class_id, 500)
    terms = SessionTerms(
        buyer.address, lab_.provider, place.class_id, buyer.address, lab_.chain.at().time() + 3_600, 0, 7
    )
    session = session_id(terms, lab_.chain.chain_id, lab_.chain.address("MeteredSessions"))
    lab_.system.send("MeteredSessions", "openSession", terms.to_abi(), 400, sender=buyer.address)
    seen, own, unknown, no_order = calls(
        place, tmp_path,
        ("status", {"session_id": "0x" + session.hex()}), ("status", {}),
        ("status", {"session_id": "0x" + "00" * 32}), ("status", {"idempotency_key": "never"}),
    )  # fmt: skip
    found = data(seen)["session"]
    assert (found["deposit_units"], found["claimed_units"], found["closed"]) == ("400", "0", False)
    mine, view = data(own), lab_.chain.at()
    assert mine["address"] == place.address
    assert mine["tokens"][0]["base_units"] == str(
        view.token_balance(lab_.chain.address("DemoUSD"), place.address)
    )
    assert mine["unfinished"] == []
    assert "not found" in error(unknown)[0]
    assert "never not found" in error(no_order)[0]


def test_redeem__call_given_up__job_goes_on_and_is_found(place: McpLab, tmp_path: Path) -> None:
    wanted = {**SLOW, "dry_run": False, "idempotency_key": "left"}
    told: list[tuple[float, str]] = []

    async def progress(number: float, _: float | None, message: str | None) -> None:
        told.append((number, message or ""))

    async def body() -> Any:
        async with over_stdio(place, tmp_path, *CAPS) as client:
            with anyio.move_on_after(2):  # cancels the call, as a client's time-out does
                await client.call_tool("redeem", {**wanted, "wait_seconds": 600})
            waiting = data(await client.call_tool("redeem", {**wanted, "wait_seconds": 0}))
            seen = data(await client.call_tool("status", {"idempotency_key": "left"}))
            last = {**wanted, "wait_seconds": 600}
            return waiting, seen, data(await client.call_tool("redeem", last, progress_callback=progress))

    before = len(place.jobs())
    waiting, seen, done = run(body)
    assert waiting["state"] in ("running", "done")
    assert seen["order"]["job_ids"] in ([], [done["job_id"]])
    assert done["state"] == "done"
    assert len(place.jobs()) == before + 1
    assert any(f"job {done['job_id']} is running" in message for _, message in told)
    assert [number for number, _ in told] == sorted({number for number, _ in told})


def test_redeem__client_killed__server_ends_and_the_job_is_found_again(place: McpLab, tmp_path: Path) -> None:
    wanted = {**SLOW, "dry_run": False, "idempotency_key": "killed", "wait_seconds": 600}
    before = len(place.jobs())
    with (tmp_path / "client.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.integration.mcp_client", json.dumps(wanted), *CAPS]
        client = subprocess.Popen(
            command, cwd=ROOT, env=place.env(tmp_path), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _until(lambda: len(place.jobs()) > before)
            (server,) = _children(client.pid)
            os.kill(client.pid, signal.SIGKILL)
            client.wait()
            _until(lambda: not Path(f"/proc/{server}").exists())
        finally:
            stop_group(client, 5.0)
    assert len(place.jobs()) == before + 1

    async def body(client: Client) -> Any:
        seen = data(await client.call_tool("status", {}))["unfinished"]
        return seen, data(await client.call_tool("redeem", wanted))

    async def later() -> Any:
        async with over_stdio(place, tmp_path, *CAPS) as client:
            return await body(client)

    seen, done = run(later)
    assert [item["idempotency_key"] for item in seen] == ["killed"]
    assert seen[0]["job_ids"] == [done["job_id"]] == ["0x" + place.jobs()[-1].hex()]
    assert done["state"] == "done"
    assert len(place.jobs()) == before + 1


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
