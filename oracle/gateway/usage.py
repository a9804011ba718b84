"""What calls are paid with, may use, hold and used."""

from __future__ import annotations

from dataclasses import dataclass, field

from scrip.rates import Rate
from scrip.structs import to_int
from scrip.vouchers import Voucher

VoucherCredential = Voucher
"""A call that brings a voucher not shown before: it proves the key's holder is calling, and may authorise
more.
"""


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """A call by API key: it spends what the vouchers of the key's session have authorised already."""

    secret: str = field(repr=False)


Credential = VoucherCredential | KeyCredential


@dataclass(frozen=True, slots=True)
class TokenBounds:
    """The most tokens that a call can use."""

    input: int
    output: int

    def __post_init__(self) -> None:
        to_int("tokens.input", self.input, 64)
        to_int("tokens.output", self.output, 64)


@dataclass(frozen=True, slots=True)
class CallUsage:
    """What a call used. `input` includes `cached`; times are unix milliseconds.

    `request` and `response` are the bytes that the hashes are of (keccak256), kept for the audit window if
    the call is `deterministic`, so that it can be run again. A receipt checks the numbers and the hashes.
    """

    input: int
    cached: int
    output: int
    request_hash: bytes
    response_hash: bytes
    started_ms: int
    ended_ms: int
    request: bytes = field(default=b"", repr=False)
    response: bytes = field(default=b"", repr=False)
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that are set aside for one call, until it is charged or released. In memory only.

    `call_id` names the call for good: charging it twice charges once. `key_id` is the API key's, "" for a
    voucher's, whose number is `voucher` then.
    """

    call_id: str
    session: bytes
    model: str
    rate: Rate
    units: int
    key_id: str = ""
    voucher: int | None = None
