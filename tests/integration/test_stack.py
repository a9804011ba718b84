"""Anvil as a child process, and the local stack up to the point where its nodes would start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from demo import anvil
from demo.classes import GPU_SKU, LLM
from demo.processes import free_ports, has_ended, spawn, stop_group
from demo.stack import BUYER_DOLLARS, STAKE_DOLLARS, USD, Stack, running
from demo.stack_config import Options
from scrip.amounts import PRICE_SCALE
from scrip.errors import ChainError
from scrip.types import Funding, Resource, sku_id

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running() as up:
        yield up


# Anvil and processes


def test_start__wrong_argument__says_what_anvil_says() -> None:
    with pytest.raises(ChainError, match="unexpected argument '--nonsense'"):
        anvil.start(extra=["--nonsense"])


def test_rpc__method_unknown__raises_with_the_nodes_words() -> None:
    with anvil.running() as node, pytest.raises(ChainError, match="eth_nonsense: Method not found"):
        node.rpc("eth_nonsense")


def test_running__body_fails__node_is_gone_all_the_same() -> None:
    def fail(node: anvil.Anvil) -> None:
        assert _exists(node.process.pid)
        raise RuntimeError(node.process.pid)

    with pytest.raises(RuntimeError) as raised, anvil.running() as node:
        fail(node)
    assert not _exists(raised.value.args[0])


def test_running__two_at_once__own_ports_and_chains() -> None:
    with anvil.running(chain_id=31337) as one, anvil.running(chain_id=11155111) as two:
        assert one.url != two.url
        assert [int(node.rpc("eth_chainId"), 16) for node in (one, two)] == [31337, 11155111]


def test_running__block_time__blocks_come_without_transactions() -> None:
    with anvil.running(block_time=1) as node:
        _wait_until(lambda: int(node.rpc("eth_blockNumber"), 16) >= 1)


def test_advance__seconds__chain_clock_moves_for_good() -> None:
    with anvil.running() as node:
        before = int(node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        node.advance(3_600)
        node.mine()
        assert int(node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) >= before + 3_600


def test_stop_group__ignores_sigterm__killed_with_its_child(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.signal(signal.SIGTERM,"
        " signal.SIG_IGN); signal.pause()']); print(child.pid, flush=True); signal.pause()"
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = spawn([sys.executable, "-c", program], output)
    try:
        _wait_until(lambda: log.read_text().endswith("\n"))
        child = int(log.read_text())
        assert stop_group(process, 0.1) == -signal.SIGKILL
        _wait_until(lambda: not _is_alive(child))
        # Waited for: its number may be another's by now, so nothing is signalled again.
        assert (stop_group(process, 0.1), has_ended(process)) == (-signal.SIGKILL, True)
    finally:
        stop_group(process, 0)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; an orphan that ended may stay a zombie until init takes note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_free_ports__several__all_different() -> None:
    assert len(set(free_ports(8))) == 8


# The stack


def test_running__stack__provider_is_registered_staked_and_serves_every_class(stack: Stack) -> None:
    view = stack.chain.at()
    info = view.provider(stack.provider)
    assert (info.oracle, info.stake) == (stack.accounts["oracle"].address, STAKE_DOLLARS * USD)
    assert info.uri.startswith(stack.provider_url + "/")
    ids = (stack.classes.llm, stack.classes.cpu, stack.classes.gpu)
    assert list(view.class_ids()) == list(ids)
    assert all(view.can_serve(stack.provider, class_id) for class_id in ids)


def test_running__stack__classes_are_sold_and_watched_as_offered(stack: Stack) -> None:
    view = stack.chain.at()
    llm, cpu, gpu = (
        view.class_terms(item) for item in (stack.classes.llm, stack.classes.cpu, stack.classes.gpu)
    )
    assert {terms.funding for terms in (llm, cpu, gpu)} == {Funding.SALE}
    assert {terms.payment_token for terms in (llm, cpu, gpu)} == {stack.payment_token}
    assert [(terms.min_assurance, terms.watcher_set) for terms in (llm, cpu, gpu)] == [(2, 1), (2, 1), (0, 0)]
    assert (gpu.resource, gpu.decimals, gpu.sku) == (Resource.GPU_SECOND, 3, sku_id(GPU_SKU))
    assert view.cost(stack.classes.llm, PRICE_SCALE) == LLM.price_per_million


def test_running__stack__buyer_can_pay_and_watchers_are_in_force(stack: Stack) -> None:
    view = stack.chain.at()
    assert view.token_balance(stack.payment_token, stack.accounts["buyer"].address) == BUYER_DOLLARS * USD
    members = {stack.accounts[name].address for name in stack.options.watcher_names}
    assert (set(view.watcher_set(1).watchers), view.watcher_set(1).threshold) == (members, 2)


def test_running__stack__secrets_are_readable_by_their_owner_alone(stack: Stack) -> None:
    files = [stack.layout.password, *(stack.layout.keystore(name) for name in stack.accounts)]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}


def test_up__interrupted__nothing_is_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.stack", "up", "--no-nodes", "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        chain = process.stdout.readline()
        assert chain.startswith("chain "), chain
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(chain.split()[1])


def test_running__more_providers__each_alone_in_a_class_of_its_own() -> None:
    with running(Options(more_providers=1)) as up:
        [class_id], (first, second), view = up.more_classes, up.providers, up.chain.at()
        assert (first, second) == tuple(each.address for each in view.providers())
        assert view.can_serve(second, class_id)
        assert not view.can_serve(first, class_id)
        assert view.can_serve(second, up.classes.cpu)
        assert not view.can_serve(second, up.classes.llm)
        assert view.provider(second).oracle == up.accounts["oracle-2"].address
        assert view.provider(second).stake == STAKE_DOLLARS * USD
        assert up.layout.config("provider-2").is_file()
