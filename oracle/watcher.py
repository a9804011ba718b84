"""Watcher side of the quorum: fetch the evidence, check it against the chain, run the job again, co-sign or
say why not.

A receipt that passed once isn't reviewed again. A refusal holds for the evidence it was reached on: a damaged
copy of an honest bundle doesn't stain the receipt. Before any signature leaves, the watcher
commits in its store to that one receipt of the job, so it never signs two different ones, whatever a provider
asks and however often it is restarted.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_utils.crypto import keccak

from oracle import fetch
from oracle.catalogue import Catalogue, Template
from oracle.executors.base import Executor, ResultInvalid
from oracle.executors.result import read_job_file, read_output
from oracle.facts import Facts
from oracle.jobs.names import USAGE
from oracle.jobs.params import Params
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.outbox import DryRun
from oracle.quorum import digest
from oracle.receipt import HARDWARE
from oracle.reviews import Reviews, Verdict
from oracle.settings import WatcherSettings
from oracle.telemetry.tokens import TokensInvalid, parse_usage
from oracle.verify import Rerun, VerifyRequest, verify_request
from scrip.eip712 import Wallet, receipt_struct_hash, sign
from scrip.errors import BadInput, EvidenceInvalid, NotFound, Refused, ScripError
from scrip.evidence import Bundle
from scrip.signed_requests import SignedBy
from scrip.types import JobTerms, Receipt

STRIPES: Final = 64
USAGE_BYTES: Final = 64 * 1024
PASSING_CHECKS: Final = frozenset({"job.state", "receipt.time"})
"""Refused, but not for good: our node may lag."""

_log = get(__name__)


class RowsRefused(ScripError):
    """One or more rows fail a check; nothing was signed."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self.verdicts = tuple(verdicts)
        first = verdicts[0]
        super().__init__(f"{len(verdicts)} receipt(s) refused, the first by {first.check}: {first.reason}")


class Unable(ScripError):
    """The watcher can't judge now: its node, the provider's server or its own machine is in the way. Ask
    again.
    """


@dataclass(frozen=True, slots=True)
class CosignRow:
    """A receipt to co-sign, and where its evidence is said to be."""

    receipt: Receipt
    bundle_url: str


class Watcher:
    """Reviews and co-signs. Safe to share between threads; `signer` None is a dry run."""

    def __init__(
        self,
        *,
        facts: Facts,
        reviews: Reviews,
        catalogue: Catalogue,
        executor: Executor | None,
        signer: Wallet | None,
        workroot: Path,
        settings: WatcherSettings,
        metrics: Metrics,
    ) -> None:
        """`executor` None never runs a job again."""
        self._facts, self._reviews, self._catalogue = facts, reviews, catalogue
        self._executor, self._signer, self._workroot = executor, signer, workroot
        self._auth = None if signer is None else SignedBy(signer, facts.chain.chain_id, facts.market)
        self._settings, self._metrics = settings, metrics
        self._slots = threading.BoundedSemaphore(settings.slots)
        self._locks = tuple(threading.Lock() for _ in range(STRIPES))

    def cosign(self, rows: Sequence[CosignRow], *, batched: bool) -> bytes:
        """Signature over these receipts. Raises RowsRefused, Unable, BadInput, DryRun."""
        self._check_form(rows, batched)
        verdicts = [self._review(row) for row in rows]
        refused = [verdict for verdict in verdicts if not verdict.passed]
        if refused:
            self._metrics.cosigned.labels("refused").inc()
            raise RowsRefused(refused)
        if self._signer is None:
            raise DryRun(f"co-sign {len(rows)} receipt(s)")
        self._commit(rows)
        receipts = [row.receipt for row in rows]
        message = digest(receipts, self._facts.chain.chain_id, self._facts.verifier, batched=batched)
        self._metrics.cosigned.labels("signed").inc()
        return sign(message, self._signer)

    def _check_form(self, rows: Sequence[CosignRow], batched: bool) -> None:
        if not 1 <= len(rows) <= self._settings.max_rows or (not batched and len(rows) != 1):
            raise BadInput("rows", len(rows), f"1 to {self._settings.max_rows}, and one without a batch")
        if len({row.receipt.job_id for row in rows}) != len(rows):
            raise BadInput("rows", "a job twice", "different jobs")

    def _commit(self, rows: Sequence[CosignRow]) -> None:
        others = self._reviews.commit({row.receipt.job_id: receipt_struct_hash(row.receipt) for row in rows})
        if others:
            self._metrics.cosigned.labels("refused").inc()
            raise RowsRefused(
                [
                    Verdict(
                        job_id,
                        False,
                        "receipt.equivocation",
                        f"already signed receipt 0x{other.hex()} of this job",
                    )
                    for job_id, other in others.items()
                ]
            )

    # Reviewing

    def _review(self, row: CosignRow) -> Verdict:
        key = receipt_struct_hash(row.receipt)
        with self._locks[key[0] % STRIPES]:  # two equal requests at once: the second one waits for the answer
            passed = self._reviews.passed(key)
            if passed is not None:
                return passed
            terms = self._terms(row.receipt.job_id)
            try:
                self._check_origin(row.bundle_url, terms.provider)
            except Refused as refused:  # not kept: a registration may be updated
                return Verdict(row.receipt.job_id, False, refused.check, refused.reason)
            raw = self._download(row.bundle_url)
            evidence = bytes(keccak(raw))
            known = self._reviews.find(key, evidence)
            if known is not None:
                return known
            verdict = self._judge(row.receipt, terms, raw)
            if verdict.check not in PASSING_CHECKS:
                self._reviews.keep(key, evidence, terms.provider, verdict)
        _log.info(
            "reviewed", job="0x" + row.receipt.job_id.hex(), passed=verdict.passed, check=verdict.check,
            reason=verdict.reason,
        )  # fmt: skip
        return verdict

    def _terms(self, job_id: bytes) -> JobTerms:
        try:
            return self._facts.chain.at().job_terms(job_id)
        except NotFound as missing:
            raise Unable(f"{missing} as far as our node sees") from missing

    def _judge(self, receipt: Receipt, terms: JobTerms, raw: bytes) -> Verdict:
        try:
            self._verify(receipt, terms, Bundle.decode(raw))
        except Refused as refused:
            return Verdict(receipt.job_id, False, refused.check, refused.reason)
        except EvidenceInvalid as invalid:
            return Verdict(receipt.job_id, False, invalid.check, invalid.detail)
        return Verdict(receipt.job_id, True)

    def _check_origin(self, url: str, provider: str) -> None:
        """Bundles come from where the provider is registered, so that no one can send us elsewhere."""
        given, registered = fetch.origin(url), fetch.origin(self._facts.provider_uri(provider))
        allowed = {registered, *(fetch.origin(item) for item in self._settings.allowed_origins)} - {""}
        if given not in allowed:
            where = f"the provider is registered at {registered or 'none'}"
            raise Refused(f"evidence at {given or 'no URL'}, {where}", "bundle.origin")

    def _download(self, url: str) -> bytes:
        limits = self._settings
        try:
            return fetch.get(
                url, limit=limits.max_bundle_bytes, timeout_s=limits.fetch_timeout_s, auth=self._auth
            )
        except fetch.FetchFailed as failed:
            raise Unable(f"evidence can't be fetched: {failed}") from failed

    def _verify(self, receipt: Receipt, terms: JobTerms, bundle: Bundle) -> None:
        state = self._facts.job(receipt.job_id)
        report = verify_request(
            VerifyRequest(
                bundle=bundle,
                receipt=receipt,
                facts=self._facts.job_facts(terms, state),
                now=self._facts.now(),
                catalogue=self._catalogue,
                reexecute=self._reexecute if self._executor is not None else None,
                challenge=secrets.token_bytes(32),
                oracle=self._oracle(receipt, terms),
            )
        )
        _log.debug(
            "checks passed", job="0x" + receipt.job_id.hex(), checks=[check.name for check in report.checks]
        )

    def _oracle(self, receipt: Receipt, terms: JobTerms) -> str:
        """The provider's key, which the reports of its GPUs must name."""
        return self._facts.oracle_of(terms.provider) if receipt.assurance >= HARDWARE else ""

    # Running again

    def _reexecute(self, job_id: bytes, template: Template, params: Params) -> Rerun:
        """Run the job in our own executor. Raises ExecutorError, which says nothing about the receipt."""
        if self._executor is None:
            raise Unable("this watcher runs nothing again")
        workdir = self._workroot / f"{job_id.hex()}-{secrets.token_hex(4)}"
        with self._slots:
            try:
                work = template.work(job_id, 0, params, workdir)
                ended = self._executor.start(work).wait()
                if ended.reason in ("killed", "memory"):
                    raise Unable(f"the job can't be run again here: {ended.reason}")
                if ended.reason != "ok":
                    return Rerun(ended.reason, b"", None, None)
                return _outcome(workdir, template, params)
            finally:
                shutil.rmtree(workdir, ignore_errors=True)

    def refusals(self, limit: int) -> list[dict[str, Any]]:
        """Why receipts were refused, newest first, as plain JSON."""
        return [
            {
                "jobId": "0x" + row.job_id.hex(),
                "receiptHash": "0x" + row.receipt_hash.hex(),
                "provider": row.provider,
                "check": row.check,
                "reason": row.reason,
                "atMs": row.at_ms,
            }
            for row in self._reviews.refusals(limit)
        ]


def _outcome(workdir: Path, template: Template, params: Params) -> Rerun:
    try:
        output = read_output(workdir, template.limits.output_bytes)
        if params.most_tokens() is None:
            return Rerun("ok", output, None, None)
        counts = parse_usage(read_job_file(workdir, USAGE, USAGE_BYTES).decode("utf-8", errors="replace"))
    except (ResultInvalid, TokensInvalid) as invalid:
        raise Unable(f"run again, the job left no usable result: {invalid}") from invalid
    return Rerun("ok", output, counts.input, counts.output)
