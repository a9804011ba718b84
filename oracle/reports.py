"""The reports of a job's GPUs that go into its evidence: what lifts a receipt to assurance 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oracle.facts import Facts
from oracle.intake import WATCHED
from oracle.logging import get
from oracle.models import JobRow
from oracle.receipt import HARDWARE
from oracle.telemetry.base import TelemetryError
from oracle.telemetry.confidential import Collected
from scrip.attestation import GpuReport, report_nonce
from scrip.samples import Sample, leased_gpus

Collect = Callable[[Sequence[str], bytes], Collected]
"""Asks GPUs for reports over a nonce (`ConfidentialGpus.collect`)."""

_log = get(__name__)


class ReportsMissing(TelemetryError):
    """A class needs reports of the GPUs, and there are none: the attempt can't be billed."""


class GpuReports:
    """Asks the GPUs of a job. `key` is our oracle key, which each report names; `collect` None asks none."""

    def __init__(self, facts: Facts, key: str | None, collect: Collect | None) -> None:
        self._facts, self._key, self._collect = facts, key, collect

    def of(self, job: JobRow, samples: Sequence[Sample], nonce: int) -> tuple[GpuReport, ...]:
        """Reports of all GPUs that the samples say were leased, or none.

        Raises ReportsMissing if there are none and the job's class needs them.
        """
        gpus = leased_gpus(samples)
        if self._collect is None or self._key is None or not gpus:
            return ()
        chain_id, market = self._facts.chain.chain_id, self._facts.market
        found = self._collect(gpus, report_nonce(chain_id, market, job.job_id, nonce, self._key))
        for note in found.notes:
            _log.info("no GPU report", job=job.label, device=note.device, reason=note.reason)
        if not found.reports and self._facts.class_terms(job.terms.class_id).min_assurance >= HARDWARE:
            why = "; ".join(note.reason for note in found.notes)
            raise ReportsMissing(f"the class needs reports of the GPUs, and there are none: {why}")
        return found.reports


def level_of(reports: Sequence[GpuReport]) -> int:
    """The assurance that watchers can co-sign."""
    return HARDWARE if reports else WATCHED
