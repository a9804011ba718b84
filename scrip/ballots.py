"""How watchers vote on receipts without copying one another: sealed first, opened after. Pure.

A watcher that has reviewed receipts signs a `Commitment`: their digest (`subject`), the hash of the evidence
it looked at, and a seal over its findings, a salt and its own address. Only once enough others have committed
too does it sign the `Reveal` that opens the seal. Findings are hashed as canonical JSON and say, receipt by
receipt, whether it passed and by which checks, so a signed reveal is also a refusal that nobody can forge and
its watcher can't deny.

A seal holds its watcher's address, so a copied one can't be opened by the copier. Two commitments of one
watcher to the same subject and evidence, or a reveal that doesn't open its commitment, are a proof against
that watcher, which anybody can check (`Equivocation.check`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from scrip.eip712 import recover
from scrip.eip712_watchers import commitment_digest, reveal_digest
from scrip.errors import BadInput
from scrip.structs import to_address, to_bytes
from scrip.types import Commitment, Reveal


@dataclass(frozen=True, slots=True)
class SignedCommitment:
    """A commitment and its watcher's signature."""

    commitment: Commitment
    signature: bytes

    def signer(self, chain_id: int, verifier: str) -> str:
        """Whose signature it is. Raises BadSignature."""
        return recover(commitment_digest(self.commitment, chain_id, verifier), self.signature)

    def to_json(self) -> dict[str, Any]:
        """JSON object."""
        return {"commitment": self.commitment.to_json(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput."""
        got = _members(data, {"commitment", "signature"})
        return cls(Commitment.from_json(got["commitment"]), to_bytes("signature", got["signature"], 65))


@dataclass(frozen=True, slots=True)
class SignedReveal:
    """What opens a commitment, and its watcher's signature."""

    reveal: Reveal
    signature: bytes

    def signer(self, chain_id: int, verifier: str) -> str:
        """Whose signature it is. Raises BadSignature."""
        return recover(reveal_digest(self.reveal, chain_id, verifier), self.signature)

    def to_json(self) -> dict[str, Any]:
        """JSON object."""
        return {"reveal": self.reveal.to_json(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput."""
        got = _members(data, {"reveal", "signature"})
        return cls(Reveal.from_json(got["reveal"]), to_bytes("signature", got["signature"], 65))


def findings_hash(findings: Mapping[str, Any]) -> bytes:
    """keccak256 of the findings as JSON with sorted keys, no spaces, ASCII only."""
    raw = json.dumps(findings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return bytes(keccak(text=raw))


def seal_of(reveal: Reveal, watcher: str) -> bytes:
    """keccak256(abi.encode(subject, evidence, findings, salt, watcher)): what a commitment seals.

    `subject` is an EIP-712 digest and so bound to chain and verifier already.
    """
    return bytes(keccak(encode([*reveal.abi_types(), "address"], [*reveal.to_abi(), watcher])))


def opens(reveal: Reveal, commitment: Commitment, watcher: str) -> bool:
    """Whether a reveal is the one that `watcher` committed to."""
    same = (reveal.subject, reveal.evidence) == (commitment.subject, commitment.evidence)
    return same and seal_of(reveal, watcher) == commitment.seal


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two statements of one watcher that can't both be honest."""

    watcher: str
    first: SignedCommitment
    second: SignedCommitment | SignedReveal

    @classmethod
    def of(
        cls, first: SignedCommitment, second: SignedCommitment | SignedReveal, chain_id: int, verifier: str
    ) -> Self | None:
        """The proof that the two contradict each other, None if they don't. Raises BadSignature."""
        made = cls(first.signer(chain_id, verifier), first, second)
        return made if made.check(chain_id, verifier) else None

    def check(self, chain_id: int, verifier: str) -> bool:
        """Whether this proves that `watcher` equivocated. Raises BadSignature."""
        signers = {self.first.signer(chain_id, verifier), self.second.signer(chain_id, verifier)}
        if signers != {self.watcher}:
            return False
        told = self.first.commitment
        if isinstance(self.second, SignedReveal):
            again = self.second.reveal
            same = (again.subject, again.evidence) == (told.subject, told.evidence)
            return same and not opens(again, told, self.watcher)
        other = self.second.commitment
        same = (other.subject, other.evidence) == (told.subject, told.evidence)
        return same and other.seal != told.seal

    def to_json(self) -> dict[str, Any]:
        """JSON object."""
        return {"watcher": self.watcher, "first": self.first.to_json(), "second": self.second.to_json()}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput. `check` says whether it proves anything."""
        got = _members(data, {"watcher", "first", "second"})
        second = got["second"]
        kind = SignedReveal if isinstance(second, Mapping) and "reveal" in second else SignedCommitment
        first = SignedCommitment.from_json(got["first"])
        return cls(to_address("watcher", got["watcher"]), first, kind.from_json(second))


def _members(data: object, keys: set[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping) or set(data) != keys:
        raise BadInput("statement", data, f"an object with exactly {sorted(keys)}")
    return data
