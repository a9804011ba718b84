"""A history of settlements on a real chain, and the audit file that follows it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from scrip import deployments
from scrip.audit.book import Book, raw_lines
from scrip.audit.shapes import encode
from scrip.cli.main import app
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash
from scrip.evidence import Bundle, Result, Sample, evidence_root, output_hash, seal
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms
from tests.integration.scene import Scene

BUYER, OTHER = "sponsor", "buyer"
SPEC = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 1})
Line = dict[str, Any]


@dataclass(slots=True)
class Trail:
    """A history that goes on, and the file that follows it."""

    scene: Scene
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "audit.jsonl"

    def open(self, units: int, who: str = BUYER, **changes: Any) -> JobTerms:
        terms = self.scene.job(who, max_units=units, **changes)
        self.scene.send(who, "JobMarket", "open", terms.to_abi(), self.scene.quote(terms))
        return terms

    def settle(self, *jobs: tuple[JobTerms, int], watchers: int = 0, **changes: Any) -> None:
        """A batch that settles these jobs."""
        scene = self.scene
        receipts = [scene.receipt(terms, units, **changes) for terms, units in jobs]
        hashes = [receipt_struct_hash(receipt) for receipt in receipts]
        attestation = scene.attest(batch_digest(hashes, *scene.domain("ReceiptVerifier")), watchers)
        rows = [terms.to_abi() for terms, _ in jobs], [receipt.to_abi() for receipt in receipts]
        watcher_set = 1 if watchers else 0
        scene.send("relayer", "JobMarket", "submitBatch", *rows, watcher_set, attestation.to_abi())

    def watched(self, terms: JobTerms, units: int) -> None:
        """One job alone, co-signed by two watchers."""
        scene = self.scene
        receipt = scene.receipt(terms, units, assurance=2)
        attestation = scene.attest(receipt_digest(receipt, *scene.domain("ReceiptVerifier")), 2)
        rows = terms.to_abi(), receipt.to_abi(), attestation.to_abi()
        scene.send("relayer", "JobMarket", "submit", *rows)

    def claim(self, *rows: tuple[Any, int]) -> None:
        claims = [self.scene.claim(terms, units) for terms, units in rows]
        self.scene.send("provider", "MeteredSessions", "claimBatch", self.scene.at("provider"), claims)

    def session(self, units: int, who: str) -> Any:
        terms = self.scene.session(who)
        self.scene.send(who, "MeteredSessions", "openSession", terms.to_abi(), units)
        return terms

    def windowed(self) -> int:
        return self.scene.system.create_class(
            price_per_million=10**12, max_rate=10**9, watcher_set=1, challenge_window=60, arbiter_set=1
        )

    def evidenced(self) -> Bundle:
        """A job whose evidence exists, settled at assurance 1."""
        scene = self.scene
        terms = self.open(1_000, spec_hash=spec_hash(SPEC))
        job, market = scene.job_id(terms), scene.at("JobMarket")
        state = scene.chain.at().job_state(job)
        rows = [("start", "lease", "lease_ms", 0), ("end", "lease", "lease_ms", 900)]
        taken = tuple(
            Sample(seq, state.opened_at * 1000 + value, value * 10**6, edge, source, "cpu", metric, value)
            for seq, (edge, source, metric, value) in enumerate(rows)
        )
        result = Result(0, None, "ok")
        sealed = seal(taken, result=result, attempt=1, sku="test-cpu")
        root = evidence_root(scene.chain.chain_id, market, job, state.nonce, sealed)
        receipt = scene.receipt(terms, 900, output_hash=output_hash(b"done"), evidence_root=root)
        scene.submit(terms, receipt)
        return Bundle(
            scene.chain.chain_id, market, job, state.nonce, terms, SPEC, sealed, b"done", result, receipt,
            False, 1,
        )  # fmt: skip

    # The command

    def run(self, *args: str) -> Any:
        path = deployments.save(self.scene.system.deployment, self.folder)
        options = ["--rpc", self.scene.system.anvil.url, "--deployment", str(path), "--json"]
        return CliRunner().invoke(app, [*options, "audit", *args])

    def export(self, *args: str) -> Any:
        result = self.run("export", str(self.path), *args)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def verify(self, *args: str) -> Any:
        """What the check prints; its failures are its exit status."""
        result = self.run("verify", str(self.path), *args)
        found = json.loads(result.stdout)
        assert result.exit_code == (0 if found["ok"] else 1), result.output
        assert result.stderr.count("\n") == (0 if found["ok"] else 1)
        return found

    def fails(self, *args: str) -> set[str]:
        return {one["check"] for one in self.verify(*args)["failures"]}

    # The file

    def lines(self) -> list[Line]:
        return [json.loads(raw) for raw in raw_lines(self.path)]

    def of_type(self, kind: str) -> list[Line]:
        return [line for line in self.lines() if line["type"] == kind]

    def rewrite(self, lines: list[Line]) -> None:
        """Write lines as one who knows the format does: hashes and seals are right again."""
        book, raw = Book(), []
        for line in lines:
            if line["type"] == "seal":
                burned = {str(key): str(units) for key, units in book.burned.items()}
                line = line | {"settlements": str(book.settlements), "burned": burned}
            raw.append(encode({**line, "previous": book.head}))
            book.add(raw[-1])
        self.path.write_bytes(b"\n".join(raw) + b"\n")


def trail_of(scene: Scene, folder: Path) -> Trail:
    """A trail whose buyers have credits, on a scene of its own."""
    scene.give(BUYER, 200_000)
    scene.give(OTHER, 50_000)
    return Trail(replace(scene), folder)


def history_of(trail: Trail) -> Trail:
    """A batch, a watched job, one through a window, one unused, claims of two sessions, and reclaims."""
    scene = trail.scene
    trail.settle((trail.open(7_000), 6_000), (trail.open(5_000, OTHER), 1), (trail.open(100), 0))
    trail.watched(trail.open(4_000), 3_000)
    one, two = trail.session(5_000, BUYER), trail.session(3_000, OTHER)
    trail.claim((one, 1_000), (two, 777))
    trail.claim((one, 2_500))
    windowed = trail.windowed()
    scene.give(OTHER, 9_000, windowed)
    waiting = trail.open(6_000, OTHER, class_id=windowed)
    trail.settle((waiting, 4_000))
    scene.system.anvil.advance(100)
    scene.send("relayer", "JobMarket", "finalize", waiting.to_abi())
    scene.system.send("ComputeCredits", "closeClass", scene.class_id)
    scene.send(OTHER, "CreditReserve", "reclaim", scene.class_id, 11)
    return trail
