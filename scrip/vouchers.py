"""Vouchers: what a session's key signs to let its provider claim up to a number of base units.

A voucher is cumulative: `units` counts from the session's beginning. It authorises, no more: a provider
claims what was really used, at most that. Each call carries a voucher that wasn't shown before, which proves
that the holder of the key is calling:

    Scrip-Session: 0x<session id>
    Scrip-Voucher: <units>:0x<signature>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from scrip.eip712 import DigestSigner, address_of, domain_separator, recover_key, sign
from scrip.eip712_sessions import SESSIONS_DOMAIN, VOUCHER_TYPE, voucher_digest
from scrip.errors import BadInput, BadSignature
from scrip.hashing import keccak
from scrip.structs import to_address, to_bytes, to_int

SESSION_HEADER: Final = "Scrip-Session"
VOUCHER_HEADER: Final = "Scrip-Voucher"
UNITS_BITS: Final = 128
"""Size of a claim's numbers; a session's deposit has 96 bits."""

_SESSION = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_VOUCHER = re.compile(r"([0-9]{1,39}):(0x[0-9a-fA-F]{130})\Z")


@dataclass(frozen=True, slots=True)
class Voucher:
    """`units` base units authorised since session `session` began, signed by the session's key."""

    session: bytes
    units: int
    signature: bytes

    def __post_init__(self) -> None:
        to_bytes("voucher.session", self.session, 32)
        to_int("voucher.units", self.units, UNITS_BITS)

    @classmethod
    def parse(cls, session: str, voucher: str) -> Self:
        """From the values of the two headers. Raises BadInput."""
        if not _SESSION.match(session):
            raise BadInput(SESSION_HEADER, session, "0x and 64 hex digits")
        found = _VOUCHER.match(voucher)
        if found is None:
            raise BadInput(VOUCHER_HEADER, voucher, "<units>:0x<130 hex digits>")
        return cls(bytes.fromhex(session[2:]), int(found[1]), bytes.fromhex(found[2][2:]))

    def headers(self) -> dict[str, str]:
        """The two headers of a call that is paid by this voucher."""
        return {
            SESSION_HEADER: "0x" + self.session.hex(),
            VOUCHER_HEADER: f"{self.units}:0x{self.signature.hex()}",
        }

    def to_json(self) -> dict[str, str]:
        """Units as decimal text, the rest as 0x hex."""
        return {
            "sessionId": "0x" + self.session.hex(),
            "units": str(self.units),
            "signature": "0x" + self.signature.hex(),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput."""
        wanted = {"sessionId", "units", "signature"}
        if not isinstance(data, dict) or set(data) != wanted or not str(data["units"]).isdecimal():
            raise BadInput("voucher", data, f"an object with {', '.join(sorted(wanted))}")
        return cls(
            to_bytes("voucher.sessionId", data["sessionId"], 32),
            int(data["units"]),
            to_bytes("voucher.signature", data["signature"], 65),
        )


def sign_voucher(session: bytes, units: int, key: DigestSigner, chain_id: int, sessions: str) -> Voucher:
    """A voucher over `units` in all, by the session's key."""
    return Voucher(session, units, sign(voucher_digest(session, units, chain_id, sessions), key))


class VoucherChecker:
    """Checks the vouchers of one session. All that doesn't change from one to the next is prepared once, so
    that a check is two hashes and one recovery. Safe to share between threads.
    """

    __slots__ = ("_key", "_prefix", "_public", "_struct")

    def __init__(self, session: bytes, key: str, chain_id: int, sessions: str) -> None:
        """`key` is the address that signs, `sessions` the contract."""
        self._key = to_address("key", key)
        self._prefix = b"\x19\x01" + domain_separator(SESSIONS_DOMAIN, chain_id, sessions)
        self._struct = keccak(VOUCHER_TYPE.encode()) + to_bytes("session", session, 32)
        self._public: bytes | None = None

    def check(self, units: int, signature: bytes) -> None:
        """Raises BadSignature unless the session's key signed a voucher over `units`."""
        digest = keccak(self._prefix + keccak(self._struct + units.to_bytes(32)))
        public = recover_key(digest, signature)
        if public == self._public:
            return
        signer = address_of(public)
        if signer != self._key:
            raise BadSignature(
                "voucher.signature", f"one by {signer}", f"one by {self._key} over {units} units"
            )
        self._public = public
