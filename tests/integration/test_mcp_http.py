"""The MCP server over HTTP: closed to strangers and to web pages, and the same tools behind the token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from scrip.chain import Chain
from tests.integration.mcp_lab import (
    HASHES,
    McpLab,
    Served,
    data,
    error,
    http_server,
    over_http,
    prepare,
    run,
)
from tests.integration.oracle_lab import lab
from tests.integration.system import System

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
JSON = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def place(fresh_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpLab]:
    snapshot = fresh_system.anvil.rpc("evm_snapshot")
    chain = Chain.connect(fresh_system.anvil.url, fresh_system.deployment)
    try:
        with lab(fresh_system, chain, tmp_path_factory.mktemp("mcp") / "lab", watchers=0) as made:
            yield prepare(made)
    finally:
        assert fresh_system.anvil.rpc("evm_revert", snapshot)


@pytest.fixture(scope="module")
def served(place: McpLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of this file."""
    with http_server(place, tmp_path_factory.mktemp("state"), "--limit", "1", "--per-call", "0.01") as made:
        yield made


def post(served: Served, **headers: str) -> httpx.Response:
    return httpx.post(served.url, json=PING, headers=JSON | headers, trust_env=False)


def owner(served: Served) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.token}"}


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic abc", "Bearer x"])
def test_http__no_token_or_a_wrong_one__401(served: Served, authorization: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = post(served, **headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
def test_http__call_of_a_web_page__403_even_with_the_token(served: Served, origin: str) -> None:
    assert post(served, **owner(served), Origin=origin).status_code == 403


def test_http__name_that_was_made_to_resolve_here__421(served: Served) -> None:
    assert post(served, **owner(served), Host="evil.example").status_code == 421


def test_http__preflight_of_a_browser__is_not_answered_with_leave(served: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(served.url, headers=headers, trust_env=False)
    assert answer.status_code >= 400
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_http__token_file__is_the_owners_alone_and_in_no_log(served: Served) -> None:
    path = served.log.parent / "mcp.token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert served.token not in served.log.read_text()


def test_http__official_client__dry_run_then_work_once(place: McpLab, served: Served) -> None:
    wanted = {**HASHES, "idempotency_key": "http"}

    async def body() -> Any:
        async with over_http(served.url, served.token) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            before = place.footprint()
            checked = data(await client.call_tool("redeem", wanted))
            assert place.footprint() == before
            done = data(await client.call_tool("redeem", {**wanted, "dry_run": False}))
        async with over_http(served.url, served.token) as client:
            again = data(await client.call_tool("redeem", {**wanted, "dry_run": False}))
            file = await client.call_tool("receipt_verify", {"file": "/etc/hostname"})
            return names, checked, done, again, file

    before = len(place.jobs())
    names, checked, done, again, file = run(body)
    assert {"quote", "buy", "redeem", "status", "receipt_verify", "budget", "market"} <= names
    assert (checked["state"], done["state"]) == ("checked", "done")
    assert again["job_id"] == done["job_id"]
    assert len(place.jobs()) == before + 1
    assert "over HTTP" in error(file)[0]


def test_http__two_clients_one_key_at_once__one_job(place: McpLab, served: Served) -> None:
    wanted = {**HASHES, "dry_run": False, "idempotency_key": "both"}
    found: list[Any] = []

    async def one() -> None:
        async with over_http(served.url, served.token) as client:
            found.append(data(await client.call_tool("redeem", wanted)))

    async def body() -> None:
        async with anyio.create_task_group() as both:
            both.start_soon(one)
            both.start_soon(one)

    before = len(place.jobs())
    run(body)
    assert [item["state"] for item in found] == ["done", "done"]
    assert found[0]["job_id"] == found[1]["job_id"]
    assert len(place.jobs()) == before + 1


def test_http__beyond_the_loopback_without_names__is_refused(place: McpLab, tmp_path: Path) -> None:
    import subprocess

    command = place.command("--transport", "http", "--port", "0", "--host", "0.0.0.0", "--limit", "1")  # noqa: S104
    done = subprocess.run(command, env=place.env(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--allow-host" in done.stderr
