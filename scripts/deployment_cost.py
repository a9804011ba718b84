"""What a deployment will cost, before anything is sent: gas by transaction, coin at the present fee."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scrip.deploying.config import DeployConfig
from scrip.deploying.plan import ROLED, Step, roles

CREATION: Final = 53_000
"""Gas of a transaction that creates (https://ethereum.github.io/yellowpaper/paper.pdf, appendix G)."""
BYTE_STORED, WORD_OF_CODE, ZERO_BYTE, OTHER_BYTE = 200, 2, 4, 16
"""Gas of a byte of code kept, a word of creation code (EIP-3860), and bytes of a transaction (EIP-2028)."""
CONSTRUCTOR: Final = 250_000
"""Room for what a constructor does: a few new storage slots, events, calls of others."""
GRANT, SEAL, OFFER, RENOUNCE = 60_000, 60_000, 70_000, 45_000
PROPOSE, PROPOSE_EACH, ACTIVATE, ACTIVATE_EACH = 130_000, 3_000, 80_000, 30_000
"""Room for the transactions that follow; a test compares the whole with what a deployment takes."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Gas of each transaction by name, in order, and the fees per gas in wei at the moment."""

    gas: tuple[tuple[str, int], ...]
    fee: int
    most_fee: int

    @property
    def total(self) -> int:
        """Gas of all transactions."""
        return sum(gas for _, gas in self.gas)

    @property
    def now(self) -> int:
        """Wei at the present fee."""
        return self.total * self.fee

    @property
    def needed(self) -> int:
        """Wei that the account should hold: with this it can pay even if the base fee doubles."""
        return self.total * self.most_fee


def costs(project: Any, eth: Any, steps: Sequence[Step], config: DeployConfig) -> Costs:
    """Costs of what isn't on the chain yet. `steps` are those to create; the rest is counted in full."""
    base, tip = int(eth.get_block("latest").get("baseFeePerGas", 0)), int(eth.max_priority_fee)
    gas = (*((step.name, creation_gas(project[step.name], step)) for step in steps), *_later(config))
    return Costs(gas, base + tip, 2 * base + tip)


def creation_gas(container: Any, step: Step) -> int:
    """Most gas that creating a contract takes: from its code, since others it needs may not be there yet."""
    data = bytes.fromhex(container.deploy.encode_input(*step.args).removeprefix("0x"))
    kept = len(container._build["deployedBytecode"].removeprefix("0x")) // 2
    zeros = data.count(0)
    sent = zeros * ZERO_BYTE + (len(data) - zeros) * OTHER_BYTE
    return CREATION + sent + WORD_OF_CODE * -(-len(data) // 32) + BYTE_STORED * kept + CONSTRUCTOR


def _later(config: DeployConfig) -> Iterator[tuple[str, int]]:
    for name, role, holders in roles(config):
        for holder in holders:
            yield f"{name}.grantRole {role} {holder}", GRANT
    count = len(config.watchers)
    if count:
        if config.watcher_admin != config.deployer:
            yield "ReceiptVerifier.grantRole, for the first set only", GRANT
        yield "ReceiptVerifier.proposeSet", PROPOSE + PROPOSE_EACH * count
        yield "ReceiptVerifier.activateSet", ACTIVATE + ACTIVATE_EACH * count
        if config.watcher_admin != config.deployer:
            yield "ReceiptVerifier.renounceRole", RENOUNCE
    for name in ROLED:
        yield f"{name}.sealRoles", SEAL
    if config.admin != config.deployer:
        for name in ROLED:
            yield f"{name}.beginDefaultAdminTransfer {config.admin}", OFFER
