"""Asks the chain about a workload's job, applies the rule, and notes who holds the job. Fails closed."""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from oracle.admission.book import Book
from oracle.admission.metrics import AdmissionMetrics
from oracle.admission.rule import ChainJob, Claim, Denied, Held, Why, admit
from oracle.facts import Facts
from oracle.logging import get
from oracle.store import Store
from scrip import jobs
from scrip.errors import ChainError, NotFound
from scrip.types import JobTerms, Status
from scrip.view import ChainView

_REMEMBERED: Final = 4_096
"""Jobs whose terms are kept in memory. They never change."""

_log = get(__name__)


class Office:
    """Admissions of one provider. Safe to share between threads."""

    def __init__(self, facts: Facts, store: Store, provider: str) -> None:
        self.facts, self.provider, self.book = facts, provider, Book(store)
        self.metrics = AdmissionMetrics(self.book)
        self._store = store
        self._known: dict[bytes, JobTerms] = {}

    def admit(self, claim: Claim, *, dry: bool = False, started: bool = False) -> None:
        """Admit the workload and let it hold its job. `dry` changes nothing. Raises Denied, also when the
        chain or the store can't be read.
        """
        try:
            job, now = self.job(claim.job_id), self.facts.now()
            check = partial(self._check, claim, job, now, started)
            if dry:
                check(self.book.held(claim.job_id))
            else:
                self.book.hold(claim.job_id, claim.system, claim.workload, check)
        except Denied as denied:
            _note("denied", claim, why=denied.why.value, reason=denied.reason)
            raise
        except (ChainError, SQLAlchemyError) as problem:
            _note("unreadable", claim, reason=str(problem))
            what = "the chain" if isinstance(problem, ChainError) else "the node's store"
            raise Denied(
                Why.UNREADABLE, f"{what} can't be read now, so nothing is admitted. Try again later"
            ) from problem
        _note("would admit" if dry else "admitted", claim)

    def release(self, claim: Claim) -> bool:
        """The workload has ended: another may be admitted for its job."""
        released = self.book.release(claim.job_id, claim.system, claim.workload)
        if released:
            _note("released", claim)
        return released

    def job(self, job_id: bytes) -> ChainJob | None:
        """The job as the chain has it, None if it isn't open there. Raises ChainError.

        The slot comes first: for one that is empty no log is searched, so a made-up id costs two reads.
        """
        view = self.facts.finalized()
        final, head = view.job_state(job_id).status, self.facts.job(job_id).status
        if Status.NONE in (final, head):
            return None
        try:
            terms = self._terms(job_id, view)
        except NotFound:
            return None
        status = head if final is Status.RUNNING else final
        return ChainJob(terms, self.facts.class_terms(terms.class_id), status)

    def _check(self, claim: Claim, job: ChainJob | None, now: int, started: bool, held: Held | None) -> None:
        admit(claim, job, held, self.provider, now, started=started)

    def _terms(self, job_id: bytes, view: ChainView) -> JobTerms:
        terms = self._known.get(job_id)
        if terms is None:
            row = self._store.find(job_id)  # the daemon on the same store knows it without a search
            terms = jobs.opening(view, job_id).terms if row is None else row.terms
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[job_id] = terms
        return terms


def _note(what: str, claim: Claim, **more: str) -> None:
    _log.info(
        f"workload {what}", system=claim.system, workload=claim.workload, job="0x" + claim.job_id.hex(),
        gpus=claim.gpus, seconds=claim.seconds, **more,
    )  # fmt: skip
