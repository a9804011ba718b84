"""One Anvil and one deployment for all integration tests; every test starts from the same chain state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from demo import stack as local_stack
from demo.anvil import Anvil, running
from demo.stack_config import Options
from scrip.chain import Chain
from tests.integration import slurm_cluster
from tests.integration.audit_file import Trail, history_of, trail_of
from tests.integration.scene import Scene, stage
from tests.integration.slurm_cluster import Slurm
from tests.integration.system import System, deploy
from tests.integration.web_place import WAIT_MS, Host, Wallet, chromium, hosted, wallet_of


@pytest.fixture(scope="session")
def fresh_system() -> Iterator[System]:
    """The deployment, before any test. Tests use `system`, which undoes what they do."""
    with running(chain_id=31337) as anvil:
        yield deploy(anvil)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """One Slurm for all tests. Each ends its own jobs."""
    with slurm_cluster.running() as found:
        yield found


@pytest.fixture
def system(fresh_system: System) -> Iterator[System]:
    """All contracts on Anvil (chain id 31337, mining at once), as they were right after deployment."""
    anvil = fresh_system.anvil
    snapshot = anvil.rpc("evm_snapshot")
    try:
        yield fresh_system
    finally:
        anvil.rpc("anvil_dropAllTransactions")
        anvil.rpc("evm_setAutomine", True)
        assert anvil.rpc("evm_revert", snapshot)


@pytest.fixture
def anvil(system: System) -> Anvil:
    """The node behind `system`."""
    return system.anvil


@pytest.fixture
def chain(system: System) -> Chain:
    """A connection to `system`."""
    return Chain.connect(system.anvil.url, system.deployment)


@pytest.fixture(scope="module")
def staged(fresh_system: System) -> Iterator[Scene]:
    """Parties on the deployment, before any test of a module. Tests use `scene`, which undoes theirs."""
    anvil = fresh_system.anvil
    snapshot = anvil.rpc("evm_snapshot")
    try:
        yield stage(fresh_system, Chain.connect(anvil.url, fresh_system.deployment))
    finally:
        assert anvil.rpc("evm_revert", snapshot)


@pytest.fixture
def scene(staged: Scene) -> Iterator[Scene]:
    """A provider, its class and watchers, as they are right after `stage`."""
    snapshot = staged.system.anvil.rpc("evm_snapshot")
    try:
        yield staged
    finally:
        assert staged.system.anvil.rpc("evm_revert", snapshot)


@pytest.fixture
def trail(scene: Scene, tmp_path: Path) -> Trail:
    """An audit file to be, of settlements on `scene`."""
    return trail_of(scene, tmp_path)


@pytest.fixture
def history(trail: Trail) -> Trail:
    """The same after settlements of every kind."""
    return history_of(trail)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    expect.set_options(timeout=WAIT_MS)
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def web_stack(browser: Browser) -> Iterator[local_stack.Stack]:
    """Contracts, classes and a buyer with dollars, on a chain of their own; no node runs."""
    with local_stack.running(Options()) as up:
        yield up


@pytest.fixture(scope="module")
def web_host(web_stack: local_stack.Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The dApp page on a static host, configured for `web_stack`."""
    with hosted(tmp_path_factory.mktemp("web")) as made:
        made.configure(web_stack)
        yield made


@pytest.fixture
def wallet(web_stack: local_stack.Stack) -> Wallet:
    """The buyer's wallet; it has 100 dollars at least."""
    local_stack.mint(web_stack.chain, web_stack.sender("buyer"), 100 * local_stack.USD)
    return wallet_of(web_stack, "buyer")
