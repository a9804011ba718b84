"""One Anvil and one deployment for all tests of faults; every module starts from the same chain state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.anvil import running
from scrip.chain import Chain
from tests.e2e.site import Site
from tests.e2e.site import running as site_running
from tests.integration.oracle_lab import lab
from tests.integration.system import System, deploy


@pytest.fixture(scope="session")
def deployed() -> Iterator[System]:
    """The contracts, on a chain that mines each transaction at once and nothing else."""
    with running(chain_id=31337) as anvil:
        yield deploy(anvil)


@pytest.fixture(scope="module")
def site(deployed: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A provider and two watchers, registered; a module configures and starts what it needs."""
    anvil, folder = deployed.anvil, tmp_path_factory.mktemp("site")
    snapshot = anvil.rpc("evm_snapshot")
    try:
        chain = Chain.connect(anvil.url, deployed.deployment)
        with lab(deployed, chain, folder / "lab", watchers=2) as place, site_running(deployed, place) as made:
            yield made
    finally:
        anvil.rpc("anvil_dropAllTransactions")
        assert anvil.rpc("evm_revert", snapshot)
