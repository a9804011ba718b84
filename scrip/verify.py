"""Stand-alone verification: a bundle and a node are enough to tell whether a receipt stands, and on what.

The bundle names its market, the market names the other contracts, and every fact that counts is then read
from the chain. What this can't know is whether that market is one to trust: anybody can deploy one that
agrees with a forged bundle. So compare its address with one you know, or give it.

`checks` yields each check that passes, in order, and raises EvidenceInvalid at the first that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scrip import jobs
from scrip.attestation import check_gpu_reports
from scrip.bundle import Bundle
from scrip.chain import Chain
from scrip.eip712 import VERIFIER_DOMAIN, domain_separator, receipt_struct_hash
from scrip.errors import ChainError, EvidenceInvalid, NodeUnavailable, NotFound, Reverted
from scrip.evidence import Check, sealed_sku, verify_bundle
from scrip.jobs import Ending
from scrip.rpc import make_web3
from scrip.signatures import Signatures, find
from scrip.structs import ZERO_BYTES32
from scrip.types import ClassTerms, Deployment, JobState, Outcome, Status, sku_id
from scrip.view import ChainView

MAX_DURATION_S: Final = 30 * 86_400
"""`JobRules.MAX_DURATION`: how long before its submitBy a job can have been opened."""
WATCHED, HARDWARE = 2, 3

_PARTS: Final = {
    "ReceiptVerifier": "VERIFIER",
    "ComputeCredits": "CREDITS",
    "ProviderRegistry": "REGISTRY",
}
"""Contracts that the market names, and by which of its functions."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the chain says of a job. `ending` is None while it goes on.

    `receipt_hash` is empty while the chain has no receipt.
    """

    state: JobState
    ending: Ending | None
    receipt_hash: bytes


def checks(bundle: Bundle, rpc_url: str, *, market: str | None = None) -> Iterator[Check]:
    """Check everything a bundle claims. `market` is the JobMarket you trust, None for whichever it names.

    Raises EvidenceInvalid(check, detail), AttestationUnavailable (assurance 3 without `cryptography`),
    NodeUnavailable and other ChainErrors if the node is in the way.
    """
    chain = _connect(bundle, rpc_url)
    yield Check("chain.id", str(chain.chain_id))
    yield _check_market(chain, bundle, market)
    chain, view = _located(chain, bundle)
    yield from checks_at(chain, bundle, view)


def checks_at(chain: Chain, bundle: Bundle, view: ChainView | None = None) -> Iterator[Check]:
    """The same for a deployment that the caller knows and trusts: everything but whether it is that one.

    Raises as `checks`.
    """
    view = chain.at() if view is None else view
    yield _check_verifier(chain, view)
    terms, passed = _check_class(view, bundle)
    yield passed
    found = _find(view, bundle)
    yield Check("job.state", f"{found.state.status.name.lower()} at block {view.block}")
    yield _check_receipt(found, bundle)
    yield from verify_bundle(
        bundle,
        chain_id=chain.chain_id,
        market=chain.address("JobMarket"),
        job_nonce=found.state.nonce,
        terms=bundle.terms,  # the job id, which `bundle.jobId` compares, is their hash
        receipt=bundle.receipt,
    )
    signers = _signers(chain, bundle, found, terms)
    yield _check_signed(view, bundle, found, signers)
    if bundle.receipt.assurance >= HARDWARE:
        oracle = signers.provider if signers is not None else view.oracle_of(bundle.terms.provider)
        yield from check_gpu_reports(bundle, oracle=oracle, now=bundle.receipt.ended_at)


# --- the contracts


def _connect(bundle: Bundle, rpc_url: str) -> Chain:
    w3 = make_web3(rpc_url)
    chain = Chain(w3, Deployment(bundle.chain_id, 0, {"JobMarket": bundle.market}))
    served = chain.served_id()
    _require(
        served == bundle.chain_id,
        "chain.id",
        f"the bundle is of chain {bundle.chain_id}, the node serves {served}",
    )
    return chain


def _check_market(chain: Chain, bundle: Bundle, known: str | None) -> Check:
    market = bundle.market
    same = known is None or known == market
    _require(same, "market.known", f"the bundle is of the market {market}, not of {known}")
    try:
        job = bytes(chain.at().read("JobMarket", "hashTerms", bundle.terms.to_abi()))
    except NodeUnavailable:
        raise
    except ChainError as error:
        raise EvidenceInvalid("market.code", f"no JobMarket at {market}: {error}") from error
    detail = f"the market {market} gives these terms the id 0x{job.hex()}, the bundle 0x{bundle.job_id.hex()}"
    _require(job == bundle.job_id, "market.code", detail)
    trust = "the one you named" if known else "named by the bundle alone: compare it with the one you know"
    return Check("market.code", f"{market}, {trust}")


def _located(chain: Chain, bundle: Bundle) -> tuple[Chain, ChainView]:
    """The whole deployment, from the market; its events begin where this job can have been opened."""
    view = chain.at()
    parts = {name: str(view.read("JobMarket", getter)) for name, getter in _PARTS.items()}
    first = block_at(chain, bundle.terms.submit_by - MAX_DURATION_S, view.block)
    deployment = Deployment(chain.chain_id, first, {"JobMarket": bundle.market, **parts})
    whole = Chain(chain.w3, deployment)
    return whole, whole.at(view.block)


def _check_verifier(chain: Chain, view: ChainView) -> Check:
    verifier = chain.address("ReceiptVerifier")
    expected = domain_separator(VERIFIER_DOMAIN, chain.chain_id, verifier)
    try:
        found = bytes(view.read("ReceiptVerifier", "domainSeparator"))
    except NodeUnavailable:
        raise
    except ChainError as error:
        raise EvidenceInvalid("market.verifier", f"no ReceiptVerifier at {verifier}: {error}") from error
    _require(found == expected, "market.verifier", f"{verifier} signs in another domain, 0x{found.hex()}")
    return Check("market.verifier", f"{verifier}, named by the market")


def _check_class(view: ChainView, bundle: Bundle) -> tuple[ClassTerms, Check]:
    receipt, class_id = bundle.receipt, bundle.terms.class_id
    try:
        terms = view.class_terms(class_id)
    except NotFound as missing:
        raise EvidenceInvalid("class.terms", str(missing)) from missing
    completed = receipt.outcome is Outcome.COMPLETED
    enough = not completed or receipt.assurance >= terms.min_assurance
    _require(enough, "class.terms", f"assurance {receipt.assurance}, the class needs {terms.min_assurance}")
    label = sealed_sku(bundle.samples)
    same = not completed or terms.sku in (ZERO_BYTES32, sku_id(label))
    _require(same, "class.terms", f"the evidence is of {label!r}, the class sells another SKU or model")
    detail = f"class {class_id}, {terms.resource.label}, assurance {terms.min_assurance} or more"
    return terms, Check("class.terms", detail)


# --- the job


def _find(view: ChainView, bundle: Bundle) -> Found:
    job = bundle.job_id
    state = view.job_state(job)
    if state.status in (Status.OPEN, Status.RUNNING):
        return Found(state, None, b"")
    if state.status is Status.SUBMITTED or state.status is Status.DISPUTED:
        return Found(state, None, view.submission(job).receipt_hash)
    if state.status is Status.NONE:
        state = _emptied(view, bundle)
    since = block_at(view.chain, state.opened_at, view.block)
    end = jobs.ending(view, job, since)
    if end is None:
        raise EvidenceInvalid(
            "job.state", f"it was opened, and has neither a slot nor an end by block {view.block}"
        )
    return Found(JobState(end.status, state.opened_at, state.nonce), end, end.receipt_hash)


def _emptied(view: ChainView, bundle: Bundle) -> JobState:
    """The slot that a job had before it ended, from its opening event. Looks near its start first."""
    latest = min(bundle.terms.accept_by, bundle.receipt.started_at)
    end = block_at(view.chain, latest + 1, view.block + 1) - 1
    for span in (3_600, 86_400, MAX_DURATION_S):
        since = max(view.chain.deployment.block, block_at(view.chain, latest - span, view.block))
        try:
            found = jobs.opening(view.chain.at(max(0, end)), bundle.job_id, since)
        except NotFound:
            continue
        return JobState(Status.NONE, view.chain.block_time(found.block), found.nonce)
    raise EvidenceInvalid("job.state", f"job 0x{bundle.job_id.hex()} was never opened on this chain")


def block_at(chain: Chain, time: int, end: int) -> int:
    """The first block before `end` whose time is at least `time` (unix seconds), `end` if there is none."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        if chain.block_time(middle) < time:
            low = middle + 1
        else:
            high = middle
    return low


def _check_receipt(found: Found, bundle: Bundle) -> Check:
    status, ours = found.state.status.name.lower(), receipt_struct_hash(bundle.receipt)
    if found.ending is None and not found.receipt_hash:
        return Check("receipt.onchain", f"not yet: the job is {status}, its receipt may still change")
    _require(found.receipt_hash, "receipt.onchain", f"the job ended {status}, without a receipt")
    detail = f"the bundle's receipt hashes to 0x{ours.hex()}, the chain has 0x{found.receipt_hash.hex()}"
    _require(ours == found.receipt_hash, "receipt.onchain", detail)
    if found.ending is None:
        return Check("receipt.onchain", f"0x{ours.hex()}, {status}")
    paid, claimed = found.ending.units, bundle.receipt.units
    _require(paid <= claimed, "receipt.onchain", f"{paid} units were settled, the receipt charges {claimed}")
    units = f"{paid} units" if paid == claimed else f"{paid} of {claimed} units, after a dispute"
    where = f"transaction 0x{found.ending.tx_hash.hex()}"
    return Check("receipt.onchain", f"0x{ours.hex()}, {status} for {units} in {where}")


# --- the signatures


def _signers(chain: Chain, bundle: Bundle, found: Found, terms: ClassTerms) -> Signatures | None:
    if not found.receipt_hash:
        return None
    end = found.ending or Ending(
        found.state.status, bundle.receipt.units, found.receipt_hash, b"", chain.head()
    )
    return find(chain, bundle.job_id, end, terms)


def _check_signed(view: ChainView, bundle: Bundle, found: Found, signers: Signatures | None) -> Check:
    if not found.receipt_hash:
        return Check("receipt.signed", "not yet: nothing was submitted")
    if signers is None:
        why = "this node no longer has the transaction, or another contract sent it"
        return Check("receipt.signed", f"the market checked it; by whom isn't known: {why}")
    watched = bundle.receipt.assurance >= WATCHED and bundle.receipt.outcome is Outcome.COMPLETED
    enough = not watched or len(signers.watchers) >= signers.threshold > 0
    detail = f"{len(signers.watchers)} watchers signed, {signers.threshold} are needed"
    _require(enough, "receipt.signed", detail)
    now = _registered(view, bundle.terms.provider)
    changed = "" if now == signers.provider else f" (the provider's key now is {now})"
    by = f", {len(signers.watchers)} of the class's watchers" if signers.watchers else ""
    return Check("receipt.signed", f"by {signers.provider}{changed}{by}")


def _registered(view: ChainView, provider: str) -> str:
    try:
        return view.oracle_of(provider)
    except Reverted:
        return "unknown"


def _require(ok: object, check: str, detail: str) -> None:
    if not ok:
        raise EvidenceInvalid(check, detail)
