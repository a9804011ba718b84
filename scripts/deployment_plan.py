"""The plan of a deployment, for people, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence

from scrip.deploying.config import DeployConfig
from scrip.deploying.plan import DEMO_USD, Step, roles
from scripts import brownie_node
from scripts.deployment_cost import Costs

WEI = 10**18


def print_plan(config: DeployConfig, steps: Sequence[Step], price: Costs, *, resumed: bool) -> None:
    """Print everything that will be sent, what it costs, and who gets which role."""
    print(f"chain {config.chain_id} ({config.kind})")
    print(f"  deployer {config.deployer}, balance {coins(brownie_node.balance(config.deployer))}")
    if resumed:
        print("taking up an interrupted deployment")
    gas = dict(price.gas)
    for step in steps:
        cost = f"{gas[step.name]:>10,} gas" if step.name in gas else " (there)"
        print(f"  nonce {step.nonce:<4} {step.name:<17} {step.address} {cost}")
    for name, most in price.gas:
        if "." in name:
            print(f"  then {name}, {most:,} gas")
    print(f"  in all at most {price.total:,} gas in {len(price.gas)} transactions")
    print(f"  {coins(price.now)} coin at {price.fee} wei per gas now; have {coins(price.needed)} ready")
    print("  a rollup adds the fee for the data")
    delays = config.delays
    print(f"  delays: admin {delays.admin} s, roles {delays.roles} s, watchers {delays.activation} s")
    print(f"  delays: unbonding {delays.unbonding} s, closing of a session {delays.close} s")
    payment, stake = config.payment_token or DEMO_USD, config.stake_token or DEMO_USD
    print(f"  payment token {payment}, stake token {stake}")
    print(f"  bond of a challenge {config.challenge_bond}, sequencer feed {config.sequencer_feed}")
    print(f"  admin {config.admin}, issuers {', '.join(config.issuers)}, pausers {', '.join(config.pausers)}")
    print(f"  watcher admin {config.watcher_admin}, fee collector {config.fee_collector}")
    watchers = ", ".join(config.watchers)
    print(f"  watchers {config.threshold} of {watchers}" if watchers else "  no watcher set")
    kept = [name for name, holders in _held_by(config) if config.deployer in holders]
    print(f"  the deployer keeps: {', '.join(kept) or 'nothing'}", flush=True)


def coins(wei: int) -> str:
    """Wei as coin, exactly."""
    whole, fraction = divmod(wei, WEI)
    return f"{whole}.{fraction:018d}"


def _held_by(config: DeployConfig) -> list[tuple[str, tuple[str, ...]]]:
    named = [(f"{name}.{role}", holders) for name, role, holders in roles(config)]
    return [("administration", (config.admin,)), *named]
