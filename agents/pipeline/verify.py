"""Checks the receipt of a pipeline with nothing but its file and a node of the chain.

What this can't know is whether the market that the file names is one to trust: compare it, or give it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from eth_utils.crypto import keccak

from agents.pipeline import refs, tree
from agents.pipeline.state import State
from agents.pipeline.tree import ReceiptTree, StageLeaf
from scrip import jobs
from scrip.amounts import cost
from scrip.chain import Chain
from scrip.eip712 import job_id, receipt_struct_hash
from scrip.errors import ChainError, EvidenceInvalid, NodeUnavailable
from scrip.evidence import Check
from scrip.jobs import Ending
from scrip.rpc import make_web3
from scrip.samples import require
from scrip.spec import JobSpec, spec_hash
from scrip.structs import ZERO_ADDRESS, to_address
from scrip.types import Deployment, Status
from scrip.verify import MAX_DURATION_S, block_at
from scrip.view import ChainView

_CREDITS: Final = "CREDITS"
"""Function of the market that names the token contract."""


def checks(raw: bytes, rpc_url: str, *, market: str | None = None) -> Iterator[Check]:
    """Yield each check of a receipt file that passes, and raise EvidenceInvalid at the first that fails.

    `market` is the JobMarket you trust, None for the one the file names. Raises ChainErrors if the node is in
    the way.
    """
    found, root = ReceiptTree.decode(raw)
    yield from tree.checks(found, root)
    same = market is None or to_address("market", market) == found.market
    require(same, "market.known", f"the receipt is of the market {found.market}, not of {market}")
    view = _located(found, rpc_url)
    yield Check("chain.market", f"{found.market} on chain {found.chain_id}")
    ids = {leaf.stage: job_id(leaf.terms, found.chain_id, found.market) for leaf in found.stages}
    endings = jobs.endings(view, list(ids.values()))
    for leaf in found.stages:
        yield _check_stage(leaf, ids[leaf.stage], endings.get(ids[leaf.stage]))
        yield _check_cost(view, leaf)


def links(raw: bytes, state: State) -> Iterator[Check]:
    """Yield, for each stage, the check that its job was about the outputs it names: for who has them.

    `state` is the run the receipt is of: its plan, texts and outputs give every job's spec again, whose hash
    is in the job's terms. Raises EvidenceInvalid, BadInput for an output that isn't what was committed to.
    """
    found, _ = ReceiptTree.decode(raw)
    now = state.now
    same = found.plan == now.plan.digest(now.inputs)
    require(same, "links.plan", f"the receipt is of plan 0x{found.plan.hex()}, the run of another")
    outputs: dict[str, bytes] = {}
    for leaf in found.stages:
        stage, check = now.plan.stage(leaf.stage), f"links.{leaf.stage}"
        given = tuple(source for source, _ in leaf.inputs)
        require(given == stage.sources, check, f"takes from {given}, the plan says {stage.sources}")
        spec = JobSpec(stage.template, refs.resolve(stage.params, outputs, now.inputs))
        hashed = spec_hash(spec)
        require(
            hashed == leaf.terms.spec_hash, check, f"the outputs give spec 0x{hashed.hex()}, not its job's"
        )
        outputs[leaf.stage] = state.output(leaf.stage)
        committed = keccak(outputs[leaf.stage]) == leaf.receipt.output_hash
        require(committed, check, "its output is another than its receipt commits to")
        yield Check(check, f"spec 0x{hashed.hex()} of {', '.join(given) or 'the given texts'}")


def _located(found: ReceiptTree, rpc_url: str) -> ChainView:
    """The chain with the market's own token contract, at one block; its events begin where the stages can."""
    chain = Chain(make_web3(rpc_url), Deployment(found.chain_id, 0, {"JobMarket": found.market}))
    served = chain.served_id()
    detail = f"the receipt is of chain {found.chain_id}, the node serves {served}"
    require(served == found.chain_id, "chain.id", detail)
    view = chain.at()
    try:
        token = str(view.read("JobMarket", _CREDITS))
    except NodeUnavailable:
        raise
    except ChainError as error:
        raise EvidenceInvalid("chain.market", f"no JobMarket at {found.market}: {error}") from error
    deadlines = [leaf.terms.submit_by for leaf in found.stages]
    first = block_at(chain, min(deadlines) - MAX_DURATION_S, view.block) if deadlines else view.block
    parts = {"JobMarket": found.market, "ComputeCredits": token}
    return Chain(chain.w3, Deployment(found.chain_id, first, parts)).at(view.block)


def _check_stage(leaf: StageLeaf, job: bytes, end: Ending | None) -> Check:
    name, ours = f"stage.{leaf.stage}", receipt_struct_hash(leaf.receipt)
    if end is None:
        raise EvidenceInvalid(name, f"job 0x{job.hex()} hasn't ended on this chain, or was never opened")
    require(end.status is Status.SETTLED, name, f"job 0x{job.hex()} ended {end.status.name.lower()}")
    detail = f"the chain has receipt 0x{end.receipt_hash.hex()}, the file 0x{ours.hex()}"
    require(end.receipt_hash == ours, name, detail)
    require(end.units == leaf.units, name, f"{end.units} units were settled, the file says {leaf.units}")
    return Check(name, f"job 0x{job.hex()} settled for {end.units} units in 0x{end.tx_hash.hex()}")


def _check_cost(view: ChainView, leaf: StageLeaf) -> Check:
    name, terms = f"cost.{leaf.stage}", view.class_terms(leaf.terms.class_id)
    if terms.price_feed != ZERO_ADDRESS:
        return Check(name, f"{leaf.cost} as stated: the class's price follows a feed")
    due = cost(leaf.units, terms.price_per_million, terms.decimals)
    require(leaf.cost == due, name, f"{leaf.units} units cost {due}, the file says {leaf.cost}")
    return Check(name, f"{due}, the class's price")
