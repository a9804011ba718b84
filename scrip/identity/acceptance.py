"""What an attester does with credentials: checks one that is presented, attests its account, and looks again.

Accepted credentials are kept in a folder, one file an account, so that what ends with its issuer, or by
time, ends on chain too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrip.chain import Chain
from scrip.errors import BadInput
from scrip.identity import credentials, eligibility
from scrip.identity.credentials import CredentialInvalid
from scrip.identity.eligibility import Gate
from scrip.identity.status_lists import StatusLists, StatusUnavailable
from scrip.sender import Sender
from scrip.structs import to_address, to_bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """The holder's signature that it presents a credential to one eligibility contract until a deadline."""

    account: str
    deadline: int
    signature: bytes

    def to_json(self) -> dict[str, str]:
        """For a file."""
        return {
            "account": self.account, "deadline": str(self.deadline), "signature": "0x" + self.signature.hex(),
        }  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Proof:
        """Inverse of `to_json`. Raises BadInput."""
        try:
            data = json.loads(path.read_text("utf-8"))
            account = to_address("proof.account", data["account"])
            return cls(account, int(data["deadline"]), to_bytes("proof.signature", data["signature"], 65))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput("--proof", str(path), f"a proof by scrip eligibility prove ({error})") from None


@dataclass(frozen=True, slots=True)
class Attester:
    """Who accepts credentials for a gate: the issuers and the type it trusts, and where it keeps them."""

    chain: Chain
    gate: Gate
    folder: Path
    issuers: Sequence[str]
    kind: str
    statuses: StatusLists

    def accept(self, sender: Sender, token: str, proof: Proof) -> tuple[str, int]:
        """Make the holder of a credential eligible as long as it holds; account and end (0: by its status).

        Raises CredentialInvalid, StatusUnavailable, Refused, and as `Sender.send`.
        """
        now, found = self.chain.at().time(), credentials.read(token)
        account = self._account(found, now)
        credentials.check_proof(
            found, account, proof.deadline, proof.signature,
            chain_id=self.chain.chain_id, gate=self.gate.address, now=now,
        )  # fmt: skip
        # Kept first: what is attested and not kept would never be looked at again.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file(account).write_text(found.token, "utf-8")
        eligibility.issue(
            self.chain, sender, self.gate, account, expires=found.expires, credential=found.digest
        )
        return account, found.expires

    def recheck(self, sender: Sender) -> Iterator[tuple[str, str, str]]:
        """Look at every kept credential again, and revoke on chain what no longer holds.

        Yields account, what became of it (holds, revoked, unknown) and why. Raises as `Sender.send`.
        """
        for path in sorted(self.folder.glob("0x*.jwt")):
            account = to_address("kept credential", path.stem)
            try:
                self._account(credentials.read(path.read_text("utf-8")), self.chain.at().time())
            except StatusUnavailable as unknown:
                yield account, "unknown", str(unknown)
            except CredentialInvalid as invalid:
                eligibility.revoke(self.chain, sender, self.gate, account)
                path.rename(path.with_suffix(".revoked"))
                yield account, "revoked", str(invalid)
            else:
                yield account, "holds", ""

    def _account(self, found: credentials.Credential, now: int) -> str:
        account = credentials.check(
            found, issuers=self.issuers, kind=self.kind, chain_id=self.chain.chain_id, now=now
        )
        self.statuses.check(found, now)
        return account

    def _file(self, account: str) -> Path:
        return self.folder / f"{account}.jwt"


def list_from(path: Path) -> tuple[str, str]:
    """URL and token of a status list in a file. Raises BadInput, CredentialInvalid."""
    from scrip.identity.status_lists import read_list

    try:
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise BadInput("--status-list", str(path), f"a file with a status list ({error})") from None
    found: Any = read_list(token)
    return str(found.body.get("id", found.subject.split("#")[0])), token
