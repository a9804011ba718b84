"""What binds a settlement to what was signed for it. Pure: hashes and signatures of one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from scrip.eip712 import (
    VERIFIER_DOMAIN,
    batch_digest,
    digest,
    domain_separator,
    job_id,
    receipt_struct_hash,
    recover,
)
from scrip.eip712_sessions import session_id, voucher_digest
from scrip.errors import BadSignature
from scrip.structs import to_bytes
from scrip.types import JobTerms, Receipt
from scrip.types_spending import SessionTerms

Fault = tuple[str, str]
"""A check that fails, and how."""


@dataclass(frozen=True, slots=True)
class Domains:
    """What the digests of a file are bound to."""

    chain_id: int
    market: str
    sessions: str
    verifier: str

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Self:
        """From a header line."""
        at = header["contracts"]
        return cls(int(header["chainId"]), at["JobMarket"], at["MeteredSessions"], at["ReceiptVerifier"])


def attested_digest(hashes: list[str], batch: bool, chain_id: int, verifier: str) -> bytes:
    """What was signed for these receipts: the batch of them, or the only one."""
    structs = [to_bytes("receipts", one, 32) for one in hashes]
    if batch:
        return batch_digest(structs, chain_id, verifier)
    return digest(domain_separator(VERIFIER_DOMAIN, chain_id, verifier), structs[0])


def attestation(line: Mapping[str, Any], domains: Domains) -> Iterator[Fault]:
    """The digest is that of the receipts, and everybody who is named signed it."""
    hashes = line["receipts"]
    if not hashes or (len(hashes) > 1 and not line["batch"]):
        yield "signed.digest", f"{len(hashes)} receipts can't have been signed so"
        return
    message = attested_digest(hashes, line["batch"], domains.chain_id, domains.verifier)
    if "0x" + message.hex() != line["digest"]:
        yield "signed.digest", f"the receipts give 0x{message.hex()}, the line says {line['digest']}"
    yield from signer("signed.provider", message, **line["provider"])
    for one in line["watchers"]:
        yield from signer("signed.watchers", message, **one)


def job(line: Mapping[str, Any], attested: Mapping[str, frozenset[str]], domains: Domains) -> Iterator[Fault]:
    """The terms are the job's, the receipt is of this hash and job, and is among those that were signed."""
    terms = JobTerms.from_json(line["terms"])
    yield from _same_terms(line, terms, job_id(terms, domains.chain_id, domains.market), line["job"])
    if int(line["units"]) > terms.max_units:
        yield "job.units", f"{line['units']} units, the terms allow {terms.max_units}"
    if line["receipt"] is not None:
        yield from _receipt(line, Receipt.from_json(line["receipt"]))
    if (line["signed"] is None) != (line["receipt"] is None):
        yield "signed.receipt", "a receipt without its signatures, or signatures without the receipt"
    elif line["signed"] is not None and line["receiptHash"] not in attested.get(line["signed"], ()):
        yield "signed.receipt", f"no attestation {line['signed']} before this line covers the receipt"


def _receipt(line: Mapping[str, Any], receipt: Receipt) -> Iterator[Fault]:
    found = "0x" + receipt_struct_hash(receipt).hex()
    if found != line["receiptHash"]:
        yield "receipt.hash", f"the receipt's fields hash to {found}, the line says {line['receiptHash']}"
    if "0x" + receipt.job_id.hex() != line["job"]:
        yield "receipt.job", f"the receipt is for job 0x{receipt.job_id.hex()}"
    if int(line["units"]) > receipt.units:
        yield "job.units", f"{line['units']} units, the receipt charges {receipt.units}"


def session(line: Mapping[str, Any], before: int | None, domains: Domains) -> Iterator[Fault]:
    """The terms are the session's, the claim follows the one before, and the key signed for as much."""
    terms, voucher = SessionTerms.from_json(line["terms"]), line["voucher"]
    ident = session_id(terms, domains.chain_id, domains.sessions)
    yield from _same_terms(line, terms, ident, line["session"])
    total = int(line["cumulative"])
    first = total - int(line["units"])
    if first < 0 or (before is not None and first != before):
        yield "session.cumulative", f"{line['units']} units make {total} of the session, {before or 0} before"
    if voucher is None:
        return
    if total > int(voucher["authorised"]):
        yield "session.voucher", f"{total} units, the voucher authorises {voucher['authorised']}"
    if not voucher["contract"]:
        message = voucher_digest(ident, int(voucher["authorised"]), domains.chain_id, domains.sessions)
        yield from signer("session.voucher", message, terms.key, voucher["signature"])


def signer(check: str, message: bytes, signer: str, signature: str) -> Iterator[Fault]:
    """The signature over `message` is the signer's."""
    try:
        found = recover(message, to_bytes("signature", signature))
    except BadSignature as error:
        yield check, str(error)
        return
    if found != signer:
        yield check, f"signed by {found}, not by {signer}"


def _same_terms(
    line: Mapping[str, Any], terms: JobTerms | SessionTerms, found: bytes, stated: str
) -> Iterator[Fault]:
    kind = line["type"]
    if "0x" + found.hex() != stated:
        yield f"{kind}.terms", f"the terms are those of 0x{found.hex()}, the line is of {stated}"
    pairs = {
        "payer": terms.payer, "provider": terms.provider, "class": str(terms.class_id),
        "budget": str(terms.budget_id),
    }  # fmt: skip
    odd = [name for name, value in pairs.items() if line[name] != value]
    if odd:
        yield f"{kind}.terms", f"the line and its terms differ in {', '.join(odd)}"
