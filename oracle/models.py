"""Tables of the store. Times are unix milliseconds; hashes and signatures are 0x hex, for people to read.

The gateway has its own in `oracle/gateway/tables.py`. `oracle/migrations` builds them all;
`tests/unit/test_database.py` compares the two.
"""

from __future__ import annotations

import json
from typing import Generic, TypeVar

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from oracle.states import Stage, State
from scrip.spec import JobSpec
from scrip.structs import Struct
from scrip.types import Attestation, JobTerms, Receipt

S = TypeVar("S", bound=Struct)


class Hex(TypeDecorator[bytes]):
    """Bytes as 0x hex text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else "0x" + value.hex()

    def process_result_value(self, value: str | None, dialect: Dialect) -> bytes | None:
        """From the database."""
        return None if value is None else bytes.fromhex(value[2:])


class Number(TypeDecorator[int]):
    """An integer of any size as decimal text: SQL's own end at 64 bits."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:
        """From the database."""
        return None if value is None else int(value)


class AsJson(TypeDecorator[S], Generic[S]):
    """A mirrored Solidity struct as its JSON text."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[S]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: S | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else json.dumps(value.to_json(), sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> S | None:
        """From the database."""
        return None if value is None else self.kind.from_json(json.loads(value))


class SpecJson(TypeDecorator[JobSpec]):
    """A job spec as its JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: JobSpec | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else json.dumps(value.to_json(), sort_keys=True, default=dict)

    def process_result_value(self, value: str | None, dialect: Dialect) -> JobSpec | None:
        """From the database."""
        return None if value is None else JobSpec.from_json(json.loads(value))


class Words(TypeDecorator[str]):
    """Text that others wrote. PostgreSQL takes no NUL, and no database half a character."""

    impl: type[String] = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Word(Words):
    """The same, of limited length."""

    impl = String
    cache_ok = True


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {bytes: Hex, State: String(16), Stage: String(16)}  # noqa: RUF012


class SpecRow(Base):
    """A spec we were given, whether or not a job for it ever opens."""

    __tablename__ = "specs"

    spec_hash: Mapped[bytes] = mapped_column(primary_key=True)
    spec: Mapped[JobSpec] = mapped_column(SpecJson)
    created_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class JobRow(Base):
    """One job: its terms, where it is and what is needed to go on from there."""

    __tablename__ = "jobs"

    job_id: Mapped[bytes] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Words, default="")
    terms: Mapped[JobTerms] = mapped_column(AsJson(JobTerms))
    quote: Mapped[bytes | None]
    opened_at: Mapped[int] = mapped_column(BigInteger, default=0)
    opened_block: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    nonce: Mapped[int] = mapped_column(Number, default=0)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    process_group: Mapped[int | None] = mapped_column(Integer)
    born_ns: Mapped[int | None] = mapped_column(BigInteger)
    receipt: Mapped[Receipt | None] = mapped_column(AsJson(Receipt))
    simulated: Mapped[bool] = mapped_column(default=False)
    alone: Mapped[bool] = mapped_column(default=False)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    not_before_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    settlement_id: Mapped[int | None] = mapped_column(ForeignKey("settlements.id"), index=True)
    finalize_at: Mapped[int] = mapped_column(BigInteger, default=0)
    tx_hash: Mapped[bytes | None]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    exited_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    updated_ms: Mapped[int] = mapped_column(BigInteger)

    @property
    def at(self) -> State:
        """`state` as the enum."""
        return State(self.state)

    @property
    def label(self) -> str:
        """Short id for logs."""
        return "0x" + self.job_id.hex()[:12]


class StepRow(Base):
    """Every change of a job's state, kept: what happened, when and why."""

    __tablename__ = "steps"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[bytes] = mapped_column(ForeignKey("jobs.job_id"), index=True)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Words, default="")


class SettlementRow(Base):
    """One `submit` (one job, `batched` False) or `submitBatch`: its rows in order, and their signatures."""

    __tablename__ = "settlements"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    stage: Mapped[str] = mapped_column(String(16), index=True)
    batched: Mapped[bool]
    watcher_set: Mapped[int] = mapped_column(BigInteger)
    jobs_json: Mapped[str] = mapped_column(Text)
    attestation: Mapped[Attestation | None] = mapped_column(AsJson(Attestation))
    tries: Mapped[int] = mapped_column(Integer, default=0)
    not_before_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    reason: Mapped[str] = mapped_column(Words, default="")
    created_ms: Mapped[int] = mapped_column(BigInteger)

    @property
    def jobs(self) -> tuple[bytes, ...]:
        """Ids of the rows, in the order that was signed."""
        return tuple(bytes.fromhex(item[2:]) for item in json.loads(self.jobs_json))


class RefusalRow(Base):
    """A watcher's refusal to co-sign, as we were told it. `statement` is its signed reveal and findings."""

    __tablename__ = "refusals"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[bytes] = mapped_column(index=True)
    watcher: Mapped[str] = mapped_column(Words)
    check: Mapped[str] = mapped_column(Word(64))
    reason: Mapped[str] = mapped_column(Words)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    statement: Mapped[str] = mapped_column(Text, default="", server_default="")


class CursorRow(Base):
    """How far a scan of events has come."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    block: Mapped[int] = mapped_column(BigInteger)


class TransactionRow(Base):
    """One signed version of a transaction (`scrip.journal.TxRecord`), stored before a node sees it."""

    __tablename__ = "transactions"

    tx_hash: Mapped[bytes] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(Text)
    chain_id: Mapped[int] = mapped_column(Number)
    sender: Mapped[str] = mapped_column(String(42))
    nonce: Mapped[int] = mapped_column(BigInteger)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    to: Mapped[str] = mapped_column(String(42))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    value: Mapped[int] = mapped_column(Number)
    gas: Mapped[int] = mapped_column(BigInteger)
    max_fee: Mapped[int] = mapped_column(Number)
    priority_fee: Mapped[int] = mapped_column(Number)
    outcome: Mapped[str] = mapped_column(String(16))
    mined: Mapped[bool] = mapped_column(default=False)
    serial: Mapped[int] = mapped_column(BigInteger)
    """Order of recording: of several versions the newest pays most."""

    __table_args__ = (Index("ix_transactions_open", "sender", "outcome", "nonce"),)


class ReviewRow(Base):
    """A watcher's verdict on one receipt with one piece of evidence: the same gets the same answer.

    `checks` are those that passed, `claims` the GPUs that the evidence says the job held, both as JSON.
    """

    __tablename__ = "reviews"

    receipt_hash: Mapped[bytes] = mapped_column(primary_key=True)
    evidence_hash: Mapped[bytes] = mapped_column(primary_key=True)
    job_id: Mapped[bytes] = mapped_column(index=True)
    provider: Mapped[str] = mapped_column(String(42))
    passed: Mapped[bool]
    check: Mapped[str] = mapped_column(Word(64), default="")
    reason: Mapped[str] = mapped_column(Words, default="")
    at_ms: Mapped[int] = mapped_column(BigInteger)
    checks: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")
    claims: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")


class CommitmentRow(Base):
    """The one receipt of a job that a watcher will ever sign, stored before its signature leaves us.

    The receipt of a proven fraud stands here too: then it signs none.
    """

    __tablename__ = "commitments"

    job_id: Mapped[bytes] = mapped_column(primary_key=True)
    receipt_hash: Mapped[bytes]
    at_ms: Mapped[int] = mapped_column(BigInteger)


class LeadRow(Base):
    """The one row that says which node acts (`oracle.lead`), and that every writer locks.

    `epoch` counts the changes of lead, `beat` the leader's signs of life; `node` is empty if nobody leads.
    """

    __tablename__ = "lead"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInteger)
    node: Mapped[str] = mapped_column(String(128))
    beat: Mapped[int] = mapped_column(BigInteger)


class IdentityRow(Base):
    """Whose database this is (`oracle.identity`)."""

    __tablename__ = "identity"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class GpuClaimRow(Base):
    """A board's time that a watcher has co-signed for a job (`oracle.claims.GpuClaim`)."""

    __tablename__ = "gpu_claims"

    gpu: Mapped[str] = mapped_column(String(128), primary_key=True)
    job_id: Mapped[bytes] = mapped_column(primary_key=True)
    start_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    share_ppm: Mapped[int] = mapped_column(Integer)
    first_mj: Mapped[int | None] = mapped_column(BigInteger)
    last_mj: Mapped[int | None] = mapped_column(BigInteger)


class BallotRow(Base):
    """A watcher's vote, sealed before others are asked for theirs. `revealed_ms` 0: not opened yet."""

    __tablename__ = "ballots"

    subject: Mapped[bytes] = mapped_column(primary_key=True)
    evidence: Mapped[bytes] = mapped_column(primary_key=True)
    watcher_set: Mapped[int] = mapped_column(BigInteger)
    passed: Mapped[bool]
    findings: Mapped[str] = mapped_column(Text)
    salt: Mapped[bytes]
    seal: Mapped[bytes]
    commitment_signature: Mapped[bytes]
    reveal_signature: Mapped[bytes]
    at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    revealed_ms: Mapped[int] = mapped_column(BigInteger, default=0)


class SeenCommitmentRow(Base):
    """A watcher's signed commitment as we were shown it; its next one must be the same."""

    __tablename__ = "seen_commitments"

    subject: Mapped[bytes] = mapped_column(primary_key=True)
    evidence: Mapped[bytes] = mapped_column(primary_key=True)
    watcher: Mapped[str] = mapped_column(String(42), primary_key=True)
    seal: Mapped[bytes]
    signature: Mapped[bytes]
    at_ms: Mapped[int] = mapped_column(BigInteger)


class EquivocationRow(Base):
    """Two statements of a watcher that contradict each other (`scrip.ballots.Equivocation`), as JSON."""

    __tablename__ = "equivocations"

    subject: Mapped[bytes] = mapped_column(primary_key=True)
    evidence: Mapped[bytes] = mapped_column(primary_key=True)
    watcher: Mapped[str] = mapped_column(String(42), primary_key=True)
    proof: Mapped[str] = mapped_column(Text)
    at_ms: Mapped[int] = mapped_column(BigInteger, index=True)
