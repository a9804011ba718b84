"""A line of the account: credits that were bought, granted, used up or given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from scrip.errors import ScripError
from scrip.types import Receipt

Kind = Literal["job", "session", "reclaim", "purchase", "grant"]
BURNS: Final = ("job", "session", "reclaim")
"""Kinds that end credits."""
USAGE: Final = ("job", "session")
"""Kinds that are work done."""


class LedgerMismatch(ScripError):
    """Events don't belong together as the contracts emit them, or don't add up to what the chain holds."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}. This node's logs aren't complete: use another")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a language model; `cached` ones are part of the input."""

    input: int = 0
    cached: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.input + other.input, self.cached + other.cached, self.output + other.output)

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of credits. `units` are base units of the class, `amount` base units of its payment token.

    `account` is whose credits they were or became, `counterparty` the provider that worked, or who paid for a
    purchase. `amount` is what the provider earned for usage, what was paid for a purchase, and what came back
    for a reclaim. `budget_id` 0 is the account's own. `ident` is the id of the job or session, else empty.
    `receipt` is None where there is none or the node can't show it; `tokens` None where nobody counted.
    `time` is the block's, unix seconds.
    """

    kind: Kind
    ident: bytes
    account: str
    budget_id: int
    class_id: int
    counterparty: str
    units: int
    amount: int
    receipt_hash: bytes
    receipt: Receipt | None
    tokens: Tokens | None
    tx_hash: bytes
    block: int
    log_index: int
    time: int
