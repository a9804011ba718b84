"""One Anvil and one deployment for all integration tests; every test starts from the same chain state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scrip.chain import Chain
from scripts.anvil import Anvil, running
from tests.integration.system import System, deploy


@pytest.fixture(scope="session")
def fresh_system() -> Iterator[System]:
    """The deployment, before any test. Tests use `system`, which undoes what they do."""
    with running(chain_id=31337) as anvil:
        yield deploy(anvil)


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
