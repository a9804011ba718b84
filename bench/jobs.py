"""Gas of jobs: opened, accepted, settled, alone and in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from bench.lab import Lab
from scrip import eip712
from scrip.types import JobTerms, Outcome, Receipt

MAX_UNITS, USED_UNITS = 100, 60
ACCEPT_SECONDS, SUBMIT_SECONDS = 60, 7200


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs of the lab's provider."""

    lab: Lab

    def singles(self) -> Iterator[tuple[str, int]]:
        """One of each operation by a buyer who has done all of them before."""
        lab = self.lab
        buyer, friend = lab.holder(lab.plain), lab.account()
        self.whole(buyer)
        self.open(buyer, self.terms(buyer, lab.plain))  # stays open
        yield "buy", lab.buy(buyer, lab.plain, 10_000)
        terms = self.terms(buyer, lab.plain)
        yield "open", self.open(buyer, terms)
        yield "accept", lab.send(lab.provider, lab.function("JobMarket", "accept", terms.to_abi()))
        late = self.running(buyer, lab.plain)
        yield "submit_early", self.submit(terms)
        lab.up.anvil.advance(ACCEPT_SECONDS + 1)
        yield "submit", self.submit(late)
        yield "job_whole", self.whole(buyer)
        move = lab.function("ComputeCredits", "safeTransferFrom", buyer, friend, lab.plain, 5, b"")
        lab.send(buyer, move)
        yield "transfer_1155", lab.send(buyer, move)

    def batch(self, size: int) -> int:
        """Gas of one `submitBatch` of `size` jobs of distinct buyers. Raises if a row was skipped."""
        lab = self.lab
        jobs = [self.running(lab.holder(lab.watched), lab.watched) for _ in range(size)]
        lab.up.anvil.advance(ACCEPT_SECONDS + 1)
        mined = lab.mine(lab.provider, self.batch_call(jobs))
        settled = lab.events("JobMarket", "JobSettled", mined)
        if len(settled) != size:
            raise AssertionError(f"{len(settled)} of {size} rows settled")
        return int(mined["gasUsed"])

    def batch_call(self, jobs: list[JobTerms]) -> Any:
        """The call that settles all of them, with the signatures of the provider and two watchers."""
        receipts = [self.receipt(terms, 2) for terms in jobs]
        digest = eip712.batch_digest(
            [eip712.receipt_struct_hash(receipt) for receipt in receipts],
            self.lab.chain_id,
            self.lab.address("ReceiptVerifier"),
        )
        return self.lab.function(
            "JobMarket",
            "submitBatch",
            [terms.to_abi() for terms in jobs],
            [receipt.to_abi() for receipt in receipts],
            1,
            (self.lab.oracle(digest), self.lab.watchers(digest)),
        )

    def warm(self, class_id: int) -> None:
        """Give the class supply, earnings, and a job that stays open."""
        lab = self.lab
        buyer = lab.holder(class_id)
        settled = self.running(buyer, class_id)
        self.submit(settled)
        self.open(buyer, self.terms(buyer, class_id))

    def whole(self, buyer: str) -> int:
        """Gas of a job quoted as it is opened and settled after `acceptBy`: both transactions together."""
        terms = self.terms(buyer, self.lab.plain)
        opened = self.open(buyer, terms, self.quote(terms))
        self.lab.up.anvil.advance(ACCEPT_SECONDS + 1)
        return opened + self.submit(terms)

    def running(self, buyer: str, class_id: int) -> JobTerms:
        """Terms of a job that runs."""
        terms = self.terms(buyer, class_id)
        self.open(buyer, terms, self.quote(terms))
        return terms

    def open(self, buyer: str, terms: JobTerms, quote: bytes = b"") -> int:
        """Gas of opening the job."""
        return self.lab.send(buyer, self.lab.function("JobMarket", "open", terms.to_abi(), quote))

    def submit(self, terms: JobTerms) -> int:
        """Gas of settling the job."""
        assurance = 2 if terms.class_id == self.lab.watched else 1
        receipt = self.receipt(terms, assurance)
        digest = eip712.receipt_digest(receipt, self.lab.chain_id, self.lab.address("ReceiptVerifier"))
        watchers = self.lab.watchers(digest) if assurance >= 2 else []
        proof = (self.lab.oracle(digest), watchers)
        call = self.lab.function("JobMarket", "submit", terms.to_abi(), receipt.to_abi(), proof)
        return self.lab.send(self.lab.provider, call)

    def terms(self, buyer: str, class_id: int, budget_id: int = 0) -> JobTerms:
        """Terms that nobody has opened yet."""
        now, salt = self.lab.now(), self.lab.number()
        return JobTerms(
            payer=buyer, provider=self.lab.provider, class_id=class_id, max_units=MAX_UNITS, resources=1,
            accept_by=now + ACCEPT_SECONDS, submit_by=now + SUBMIT_SECONDS,
            spec_hash=keccak(salt.to_bytes(32, "big")), budget_id=budget_id,
            # As wide as the SDK's random salts, without their chance of a cheap zero byte.
            salt=(1 << 64) - salt,
        )  # fmt: skip

    def receipt(self, terms: JobTerms, assurance: int) -> Receipt:
        """What the provider signs for a job that ended just now."""
        job = self._id(terms)
        view = self.lab.up.chain.at()
        return Receipt(
            job_id=job, outcome=Outcome.COMPLETED, units=USED_UNITS, gpu_millijoules=123_456,
            input_tokens=200, output_tokens=USED_UNITS,
            started_at=view.job_state(job).opened_at, ended_at=view.time(),
            output_hash=keccak(b"output" + job), evidence_root=keccak(b"evidence" + job), assurance=assurance,
        )  # fmt: skip

    def quote(self, terms: JobTerms) -> bytes:
        """The provider's signature that accepts the job."""
        market = self.lab.address("JobMarket")
        return self.lab.oracle(eip712.acceptance_digest(self._id(terms), self.lab.chain_id, market))

    def _id(self, terms: JobTerms) -> bytes:
        return eip712.job_id(terms, self.lab.chain_id, self.lab.address("JobMarket"))
