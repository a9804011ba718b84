"""Watchers that misbehave, over real HTTP: each is an app that signs with a real key of the set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from oracle.quorum import digest
from oracle.server import Server
from scrip.ballots import SignedCommitment, SignedReveal, findings_hash, seal_of
from scrip.eip712 import sign
from scrip.eip712_watchers import commitment_digest, reveal_digest
from scrip.types import Commitment, Receipt, Reveal

Answer = Callable[[dict[str, Any]], Any]
FORGED = "a lie"


class Voter:
    """Builds valid statements about whatever it is told to say."""

    def __init__(self, key: Any, chain_id: int, verifier: str) -> None:
        self.key, self.place = key, (chain_id, verifier)
        self.free = threading.Event()
        """Set when a slow one may answer."""

    def subject(self, body: dict[str, Any]) -> bytes:
        receipts = [Receipt.from_json(row["receipt"]) for row in body["rows"]]
        return digest(receipts, *self.place, batched=body["batched"])

    def findings(self, jobs: list[str], *, passed: bool) -> dict[str, Any]:
        empty = {"receiptHash": "0x", "evidence": "0x", "checks": []}
        check, reason = ("", "") if passed else ("output.hash", FORGED)
        verdict = {"passed": passed, "check": check, "reason": reason}
        return {"rows": [{"jobId": job, **verdict, **empty} for job in jobs]}

    def reveal(self, subject: bytes, findings: dict[str, Any]) -> SignedReveal:
        made = Reveal(subject, b"\x0e" * 32, findings_hash(findings), b"\x05" * 32)
        return SignedReveal(made, sign(reveal_digest(made, *self.place), self.key))

    def commit(self, subject: bytes, seal: bytes) -> SignedCommitment:
        made = Commitment(subject, b"\x0e" * 32, seal)
        return SignedCommitment(made, sign(commitment_digest(made, *self.place), self.key))

    def sealed(self, subject: bytes, findings: dict[str, Any]) -> SignedCommitment:
        return self.commit(subject, seal_of(self.reveal(subject, findings).reveal, self.key.address))


def app_of(commit: Answer, reveal: Answer) -> FastAPI:
    """An app that answers as told; bytes are sent as they are, an int is a status."""
    app = FastAPI()

    def answer(given: Any) -> Any:
        if isinstance(given, bytes):
            return Response(given)
        return Response(status_code=given) if isinstance(given, int) else JSONResponse(given)

    @app.post("/commitments")
    def first(body: dict[str, Any]) -> Any:
        return answer(commit(body))

    @app.post("/reveals")
    def second(body: dict[str, Any]) -> Any:
        return answer(reveal(body))

    return app


def voting(voter: Voter, *, says: bool, opens: bool | None = None, cosigns: Any = None) -> FastAPI:
    """Commits to `says` (whether receipts pass), opens `opens` instead if that is given.

    `cosigns` maps the subject to its co-signature; by default it is an honest one.
    """
    jobs: list[str] = []

    def commit(body: dict[str, Any]) -> Any:
        jobs[:] = [row["receipt"]["jobId"] for row in body["rows"]]
        return voter.sealed(voter.subject(body), voter.findings(jobs, passed=says)).to_json()

    def reveal(body: dict[str, Any]) -> Any:
        subject, passed = bytes.fromhex(body["subject"][2:]), says if opens is None else opens
        findings = voter.findings(jobs, passed=passed)
        signature = sign(subject, voter.key) if cosigns is None else cosigns(subject)
        cosignature = "0x" + signature.hex() if passed else None
        made = voter.reveal(subject, findings).to_json()
        return made | {"findings": findings, "cosignature": cosignature}

    return app_of(commit, reveal)


def copying(voter: Voter, victim: str, *, verbatim: bool) -> FastAPI:
    """Asks another watcher for its commitment and passes it off as its own, and so with the vote."""

    def ask(path: str, body: dict[str, Any]) -> Any:
        return httpx.post(victim + path, json=body, trust_env=False).json()

    def commit(body: dict[str, Any]) -> Any:
        stolen = ask("/commitments", body)
        if verbatim:
            return stolen
        made = Commitment.from_json(stolen["commitment"])
        signature = sign(commitment_digest(made, *voter.place), voter.key)
        return SignedCommitment(made, signature).to_json()

    return app_of(commit, lambda body: ask("/reveals", body))


def slow(voter: Voter, *, at_once: bool) -> FastAPI:
    """Doesn't answer until `voter.free` is set: not at all, or (`at_once`) not the second time."""

    def wait(_: dict[str, Any]) -> Any:
        voter.free.wait(30)
        return 500

    def commit(body: dict[str, Any]) -> Any:
        jobs = [row["receipt"]["jobId"] for row in body["rows"]]
        return voter.sealed(voter.subject(body), voter.findings(jobs, passed=True)).to_json()

    return app_of(commit if at_once else wait, wait)


@contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The app on a port, by default a free one; its URL."""
    server = Server(app, "127.0.0.1", port)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
