"""Table of admissions: which workload each job pays for. Times are unix milliseconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from oracle.models import Base


class AdmissionRow(Base):
    """A job that a workload was admitted for and that hasn't been released. Its primary key is what makes two
    workloads of one job impossible. `workload` is "" until the orchestrator has given it an id.
    """

    __tablename__ = "admissions"

    job_id: Mapped[bytes] = mapped_column(primary_key=True)
    system: Mapped[str] = mapped_column(String(16))
    workload: Mapped[str] = mapped_column(String(128))
    at_ms: Mapped[int] = mapped_column(BigInteger)
