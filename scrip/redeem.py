"""Redeeming credits: plan a job, open it, follow it, and check what came back.

A job's id is the digest of its terms, so it is known before anything is sent. Opening the same plan twice is
the same job, and a caller that lost track of an opening asks the chain by that id instead of paying again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from scrip import jobs
from scrip.chain import Chain
from scrip.eip712 import Wallet, acceptance_digest, job_id, receipt_struct_hash, recover
from scrip.errors import EvidenceInvalid, NotFound, Refused, ScripError
from scrip.evidence import Bundle, Check, verify_bundle
from scrip.jobs import Ending
from scrip.provider_client import ProviderClient, discover
from scrip.sender import Sender
from scrip.signed_requests import SignedBy
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms, Outcome, Receipt, Status

SALT_BITS = 64
ACCEPT_SECONDS = 300
FINISH_SECONDS = 1800
POLL_SECONDS = 0.5


class NotFinished(ScripError):
    """A job was still going when its follower stopped waiting. It goes on; follow it again."""

    def __init__(self, job: bytes, status: Status) -> None:
        self.job, self.status = job, status
        super().__init__(
            f"job 0x{job.hex()} is still {status.name.lower()}. See: scrip job show 0x{job.hex()}"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that can be opened. `quote` is the provider's signed acceptance.

    `since` is the block the plan was made at: nothing of the job happened before.
    """

    job_id: bytes
    terms: JobTerms
    spec: JobSpec
    quote: bytes
    endpoint: str
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Redemption:
    """A finished job whose evidence passed every check here. `output` is empty if the job failed."""

    plan: Plan
    ending: Ending
    receipt: Receipt
    output: bytes
    simulated: bool
    checks: tuple[Check, ...]


def plan(
    chain: Chain,
    payer: str,
    provider: str,
    class_id: int,
    spec: JobSpec,
    max_units: int,
    *,
    resources: int = 1,
    accept_seconds: int = ACCEPT_SECONDS,
    finish_seconds: int = FINISH_SECONDS,
    budget_id: int = 0,
) -> Plan:
    """Write the terms of a job and get the provider's quote for them.

    With a budget, `payer` is the owner of its tree, and the budget's spender opens the job.

    Raises NotFound (class, provider), Refused (the provider's reason), ProviderUnreachable, BadInput.
    """
    view = chain.at()
    info = view.provider(provider)
    offer = discover(info)
    now = view.time()
    terms = JobTerms(
        payer=payer,
        provider=info.address,
        class_id=class_id,
        max_units=max_units,
        resources=resources,
        accept_by=now + accept_seconds,
        submit_by=now + accept_seconds + finish_seconds,
        spec_hash=spec_hash(spec),
        budget_id=budget_id,
        salt=secrets.randbits(SALT_BITS),
    )
    market = chain.address("JobMarket")
    job = job_id(terms, chain.chain_id, market)
    with ProviderClient(offer.endpoint) as client:
        quote = client.quote(terms, spec)
    signer = recover(acceptance_digest(job, chain.chain_id, market), quote)
    if signer != info.oracle:
        raise Refused(f"the quote is signed by {signer}, the provider's oracle key is {info.oracle}", "quote")
    return Plan(job, terms, spec, quote, offer.endpoint, view.block)


def open_job(chain: Chain, sender: Sender, planned: Plan) -> bytes | None:
    """Lock the credits and start the job. Returns the transaction's hash, None if it was opened already.

    The sender is the payer or, where the terms name a budget, that budget's spender.

    Raises as `Sender.send`; after TxUnknown ask again with the same plan.
    """
    if _was_opened(chain, planned):
        return None
    how = "openFor" if planned.terms.budget_id else "open"
    call = chain.contract("JobMarket").functions[how](planned.terms.to_abi(), planned.quote)
    receipt = sender.send(call, label=f"open 0x{planned.job_id.hex()}")
    return bytes(receipt["transactionHash"])


def _was_opened(chain: Chain, planned: Plan) -> bool:
    view = chain.at()
    if view.job_state(planned.job_id).status is not Status.NONE:
        return True
    # The slot of a job that ended is emptied from acceptBy on; before that an empty one means no job.
    late = view.time() > planned.terms.accept_by
    return late and jobs.ending(view, planned.job_id, planned.since) is not None


def follow(
    chain: Chain,
    job: bytes,
    *,
    timeout: float,
    since: int | None = None,
    on_status: Callable[[Status], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Status:
    """Wait until the job's status on chain is final, and return it.

    `timeout` is in seconds, `since` a block the job wasn't opened before. Raises NotFound if there is no such
    job, NotFinished.
    """
    deadline = clock() + timeout
    while True:
        status = jobs.status(chain.at(), job, since)
        on_status(status)
        if status is Status.NONE:
            raise NotFound("job", job)
        if status.final:
            return status
        if clock() >= deadline:
            raise NotFinished(job, status)
        sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A provider's evidence of a finished job, with the checks that it passed."""

    ending: Ending
    bundle: Bundle
    checks: tuple[Check, ...]


def collect(chain: Chain, planned: Plan, account: Wallet) -> Redemption:
    """Fetch the evidence of a settled or refunded job, as `account`, and check all of it against the chain.

    Raises as `evidence`.
    """
    found = evidence(chain, planned.job_id, planned.terms, planned.endpoint, account, planned.since)
    bundle = found.bundle
    failed = bundle.receipt.outcome is Outcome.FAILED
    output = b"" if failed else bundle.output
    return Redemption(planned, found.ending, bundle.receipt, output, bundle.simulated, found.checks)


def evidence(
    chain: Chain,
    job: bytes,
    terms: JobTerms,
    endpoint: str,
    account: Wallet,
    since: int | None = None,
) -> Evidence:
    """Fetch the evidence of a job that ended with a receipt, and check all of it against the chain.

    `account` is a party of the job: its payer, its provider, a watcher or an arbiter.

    `terms` are those of its opening event, `since` is a block it wasn't opened before. Raises
    EvidenceInvalid(check, detail) if anything doesn't fit, NotFound if the job hasn't ended, or not with a
    receipt, Refused if `account` is no party, ProviderUnreachable.
    """
    view = chain.at()
    end = jobs.ending(view, job, since)
    if end is None:
        raise NotFound("ending of job", job, "It is still going, or was never opened")
    if not end.receipt_hash:
        raise NotFound("receipt of job", job, f"It ended {end.status.name.lower()}, without one")
    auth = SignedBy(account, chain.chain_id, chain.address("JobMarket"))
    with ProviderClient(endpoint, auth=auth) as client:
        bundle = client.bundle(job)
    if receipt_struct_hash(bundle.receipt) != end.receipt_hash:
        raise EvidenceInvalid(
            "receipt.settled", "the provider shows another receipt than the one settled on chain"
        )
    checks = verify_bundle(
        bundle,
        chain_id=chain.chain_id,
        market=chain.address("JobMarket"),
        job_nonce=jobs.nonce(view, job, since),
        terms=terms,
        receipt=bundle.receipt,
    )
    settled = Check("receipt.settled", f"0x{end.receipt_hash.hex()} in transaction 0x{end.tx_hash.hex()}")
    return Evidence(end, bundle, (settled, *checks))
