"""Redeeming credits: plan a job, open it, follow it, and check what came back.

A job's id is the digest of its terms, so it is known before anything is sent. Opening the same plan twice is
the same job, and a caller that lost track of an opening asks the chain by that id instead of paying again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from scrip.chain import Chain
from scrip.eip712 import acceptance_digest, job_id, receipt_struct_hash, recover
from scrip.errors import EvidenceInvalid, NotFound, Refused, ScripError
from scrip.evidence import Bundle, Check, verify_bundle
from scrip.provider_client import ProviderClient, discover
from scrip.sender import Sender
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
    """A job that can be opened. `quote` is the provider's signed acceptance."""

    job_id: bytes
    terms: JobTerms
    spec: JobSpec
    quote: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended on chain: `units` burned (base units), `receipt_hash` and block of the ending event."""

    status: Status
    units: int
    receipt_hash: bytes
    tx_hash: bytes
    block: int


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
) -> Plan:
    """Write the terms of a job and get the provider's quote for them.

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
        budget_id=0,
        salt=secrets.randbits(SALT_BITS),
    )
    market = chain.address("JobMarket")
    job = job_id(terms, chain.chain_id, market)
    with ProviderClient(offer.endpoint) as client:
        quote = client.quote(terms, spec)
    signer = recover(acceptance_digest(job, chain.chain_id, market), quote)
    if signer != info.oracle:
        raise Refused(f"the quote is signed by {signer}, the provider's oracle key is {info.oracle}", "quote")
    return Plan(job, terms, spec, quote, offer.endpoint)


def open_job(chain: Chain, sender: Sender, planned: Plan) -> bytes | None:
    """Lock the credits and start the job. Returns the transaction's hash, None if the job is already there.

    Raises as `Sender.send`; after TxUnknown ask again with the same plan.
    """
    if chain.at().job_state(planned.job_id).status is not Status.NONE:
        return None
    call = chain.contract("JobMarket").functions.open(planned.terms.to_abi(), planned.quote)
    receipt = sender.send(call, label=f"open 0x{planned.job_id.hex()}")
    return bytes(receipt["transactionHash"])


def follow(
    chain: Chain,
    job: bytes,
    *,
    timeout: float,
    on_status: Callable[[Status], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Status:
    """Wait until the job's status on chain is final, and return it. `timeout` is in seconds.

    Raises NotFound if there is no such job, NotFinished.
    """
    deadline = clock() + timeout
    while True:
        status = chain.at().job_state(job).status
        on_status(status)
        if status is Status.NONE:
            raise NotFound("job", job)
        if status.final:
            return status
        if clock() >= deadline:
            raise NotFinished(job, status)
        sleep(POLL_SECONDS)


def ending(chain: Chain, job: bytes) -> Ending:
    """How a finished job ended, from its event. Raises NotFound if it has not ended."""
    view = chain.at()
    for name, status in _ENDINGS.items():
        for event in view.events("JobMarket", name, jobId=job):
            return Ending(
                status=status,
                units=int(event.args.get("units", 0)),
                receipt_hash=bytes(event.args.get("receiptHash", b"")),
                tx_hash=event.tx_hash,
                block=event.block,
            )
    raise NotFound("ending of job", job, "It is still going, or was never opened")


_ENDINGS = {
    "JobSettled": Status.SETTLED,
    "JobRefunded": Status.REFUNDED,
    "JobCancelled": Status.CANCELLED,
    "JobExpired": Status.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """A provider's evidence of a finished job, with the checks that it passed."""

    ending: Ending
    bundle: Bundle
    checks: tuple[Check, ...]


def collect(chain: Chain, planned: Plan) -> Redemption:
    """Fetch the evidence of a settled or refunded job and check all of it against the chain.

    Raises as `evidence`.
    """
    found = evidence(chain, planned.job_id, planned.terms, planned.endpoint)
    bundle = found.bundle
    failed = bundle.receipt.outcome is Outcome.FAILED
    output = b"" if failed else bundle.output
    return Redemption(planned, found.ending, bundle.receipt, output, bundle.simulated, found.checks)


def evidence(chain: Chain, job: bytes, terms: JobTerms, endpoint: str) -> Evidence:
    """Fetch the evidence of any job that ended with a receipt, and check all of it against the chain.

    `terms` are those of its opening event. Raises EvidenceInvalid(check, detail) if anything doesn't fit,
    NotFound if the job ended without a receipt, ProviderUnreachable.
    """
    end = ending(chain, job)
    if not end.receipt_hash:
        raise NotFound("receipt of job", job, f"It ended {end.status.name.lower()}, without one")
    with ProviderClient(endpoint) as client:
        bundle = client.bundle(job)
    if receipt_struct_hash(bundle.receipt) != end.receipt_hash:
        raise EvidenceInvalid(
            "receipt.settled", "the provider shows another receipt than the one settled on chain"
        )
    checks = verify_bundle(
        bundle,
        chain_id=chain.chain_id,
        market=chain.address("JobMarket"),
        job_nonce=chain.at().job_state(job).nonce,
        terms=terms,
        receipt=bundle.receipt,
    )
    settled = Check("receipt.settled", f"0x{end.receipt_hash.hex()} in transaction 0x{end.tx_hash.hex()}")
    return Evidence(end, bundle, (settled, *checks))
