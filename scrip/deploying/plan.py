"""What a deployment consists of, without any way to send it: contracts, their order and arguments, roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from scrip.deploying.config import DeployConfig

CONTRACTS: Final = (
    "ClassMetadata",
    "ProviderRegistry",
    "ReceiptVerifier",
    "ComputeCredits",
    "CreditReserve",
    "JobMarket",
    "SpendingBudgets",
    "MeteredSessions",
    "CreditExchange",
    "JobLens",
)
"""What every deployment has, in the order of deployment: JobMarket reads the verifier as it is created."""

SYSTEM: Final = (
    "ComputeCredits",
    "CreditReserve",
    "ProviderRegistry",
    "ReceiptVerifier",
    "JobMarket",
    "MeteredSessions",
    "SpendingBudgets",
    "CreditExchange",
    "ClassMetadata",
)
"""Contracts whose addresses `Types.System` holds, in its order."""

ROLED: Final = ("ComputeCredits", "CreditReserve", "ReceiptVerifier", "CreditExchange")
"""Contracts with an administrator and roles."""

DEMO_USD: Final = "DemoUSD"

FIRST_SET: Final = 1
"""Id of the first watcher set."""


@dataclass(frozen=True, slots=True)
class Step:
    """A contract to deploy: its constructor's arguments, the nonce it takes and the address that follows."""

    name: str
    args: tuple[Any, ...]
    nonce: int
    address: str


def plan(config: DeployConfig, predict: Callable[[int], str], first_nonce: int) -> tuple[Step, ...]:
    """Every contract in order. `predict` gives the address that the deployer creates at a nonce.

    The contracts know each other as immutables, so some need the addresses of others that come later.
    """
    names = CONTRACTS if config.payment_token else (DEMO_USD, *CONTRACTS)
    at = {name: predict(first_nonce + index) for index, name in enumerate(names)}
    system, delays = tuple(at[name] for name in SYSTEM), config.delays
    # The deployer administers until the roles are granted, then hands over.
    admin = (config.deployer, delays.admin, delays.roles)
    args: dict[str, tuple[Any, ...]] = {
        DEMO_USD: (),
        "ClassMetadata": (),
        "ProviderRegistry": (
            system,
            config.stake_token or at[DEMO_USD],
            delays.unbonding,
            config.challenge_bond,
        ),
        "ReceiptVerifier": (*admin, delays.activation),
        "ComputeCredits": (system, *admin),
        "CreditReserve": (system, *admin, config.sequencer_feed),
        "JobMarket": (system,),
        "SpendingBudgets": (system,),
        "MeteredSessions": (system, delays.close),
        "CreditExchange": (system, *admin),
        "JobLens": (system,),
    }
    return tuple(Step(name, args[name], first_nonce + index, at[name]) for index, name in enumerate(names))


def roles(config: DeployConfig) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Contract, role and holders of every role there is."""
    return (
        ("ComputeCredits", "ISSUER_ROLE", config.issuers),
        ("ComputeCredits", "PAUSER_ROLE", config.pausers),
        ("ReceiptVerifier", "WATCHER_ADMIN_ROLE", (config.watcher_admin,)),
        ("CreditReserve", "FEE_ROLE", (config.fee_collector,)),
        ("CreditExchange", "FEE_ROLE", (config.fee_collector,)),
    )
