"""One Anvil and one deployment for all integration tests; every test starts from the same chain state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.anvil import Anvil, running
from scrip.chain import Chain
from tests.integration import slurm_cluster
from tests.integration.scene import Scene, stage
from tests.integration.slurm_cluster import Slurm
from tests.integration.system import System, deploy


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
