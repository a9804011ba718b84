"""Which workload holds which job, in the node's store. One job, one workload: decided in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from oracle.admission.rule import Held, System
from oracle.admission.tables import AdmissionRow
from oracle.store import Store


@dataclass(frozen=True, slots=True)
class Admission(Held):
    """A job that is held, since `at_ms` by this workload."""

    at_ms: int


class Book:
    """Admissions. Safe to share between threads, processes and hosts on one database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def now_ms(self) -> int:
        """The clock that admissions are dated by."""
        return self._store.now_ms()

    def held(self, job_id: bytes) -> Admission | None:
        """Who holds the job."""
        with self._store.reading() as session:
            return _of(session.get(AdmissionRow, job_id))

    def job_of(self, system: System, workload: str) -> bytes | None:
        """The job that this workload holds."""
        wanted = (AdmissionRow.system == system, AdmissionRow.workload == workload)
        with self._store.reading() as session:
            return session.scalars(select(AdmissionRow.job_id).where(*wanted)).first()

    def all(self) -> Mapping[bytes, Admission]:
        """Every job that is held."""
        with self._store.reading() as session:
            rows = session.scalars(select(AdmissionRow))
            return {row.job_id: Admission(row.system, row.workload, row.at_ms) for row in rows}

    def hold(
        self, job_id: bytes, system: System, workload: str, check: Callable[[Held | None], None]
    ) -> None:
        """Let the workload hold the job, unless `check`, which is told who holds it now, raises.

        The lock of all writers is held meanwhile, so of two that ask at once the second sees the first.
        """
        with self._store.writing(led=False) as session:
            row = session.get(AdmissionRow, job_id)
            check(_of(row))
            now = self._store.now_ms()
            if row is None:
                row = AdmissionRow(job_id=job_id, system=system, workload=workload, at_ms=now)
                session.add(row)
            elif (row.system, row.workload) != (system, workload):
                row.system, row.workload, row.at_ms = system, workload, now

    def bind(self, job_id: bytes, system: System, workload: str, before: Admission | None) -> bool:
        """Note the workload of a job, unless somebody else was faster since `before` was read."""
        with self._store.writing(led=False) as session:
            row = session.get(AdmissionRow, job_id)
            if _of(row) != before:
                return False
            now = self._store.now_ms()
            session.merge(AdmissionRow(job_id=job_id, system=system, workload=workload, at_ms=now))
            return True

    def release(self, job_id: bytes, system: System, workload: str) -> bool:
        """Give the job free, if it is this workload that holds it."""
        with self._store.writing(led=False) as session:
            row = session.get(AdmissionRow, job_id)
            if row is None or (row.system, row.workload) != (system, workload):
                return False
            session.delete(row)
            return True


def _of(row: AdmissionRow | None) -> Admission | None:
    return None if row is None else Admission(row.system, row.workload, row.at_ms)
