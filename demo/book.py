"""The books of the demonstration: who holds what, and whether the reserve adds up to the last unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from demo.stack import Stack
from scrip.amounts import format_units
from scrip.errors import ScripError

USD_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Books:
    """Figures at one block, in base units.

    `held` are the buyer's credits by class id; `locked` of them are in jobs, and still its own.
    """

    held: dict[int, int]
    locked: dict[int, int]
    dollars: int
    earnings: int
    reserve: int
    backing: int
    fees: int

    @property
    def balanced(self) -> bool:
        """Whether the reserve's tokens are exactly backing, earnings and fees."""
        return self.reserve == self.backing + self.earnings + self.fees

    def same_credits(self, other: Books) -> bool:
        """Whether the buyer has the same credits as in `other`, held and free."""
        return (self.held, self.locked) == (other.held, other.locked)

    def credits(self, class_id: int, decimals: int) -> str:
        """The buyer's credits of a class as text, with what is locked of them."""
        held, locked = self.held[class_id], self.locked[class_id]
        text = format_units(held, decimals)
        return f"{text} ({format_units(locked, decimals)} locked)" if locked else text


def read(stack: Stack) -> Books:
    """The books now. Nobody but the providers has earnings here."""
    view, token = stack.chain.at(), stack.payment_token
    buyer, class_ids = str(stack.accounts["buyer"].address), view.class_ids()
    return Books(
        held={class_id: view.balance(buyer, class_id) for class_id in class_ids},
        locked={class_id: view.locked(buyer, class_id) for class_id in class_ids},
        dollars=view.token_balance(token, buyer),
        earnings=sum(view.earnings(provider, token) for provider in stack.providers),
        reserve=view.token_balance(token, stack.chain.address("CreditReserve")),
        backing=sum(view.backing(class_id) for class_id in class_ids),
        fees=view.fees(token),
    )


def usd(amount: int) -> str:
    """Base units of dUSD as dollars."""
    return f"{format_units(amount, USD_DECIMALS)} dUSD"


def table(stack: Stack, start: Books, bought: Books, end: Books) -> Table:
    """Before buying, after buying, and now. Raises if the reserve doesn't add up at any of them."""
    for books in (start, bought, end):
        if not books.balanced:
            raise ScripError(f"the reserve doesn't add up: {books}")
    shown = Table(title="the books")
    for name in ("", "before", "after buying", "after the work"):
        shown.add_column(name, justify="left" if not name else "right")
    view = stack.chain.at()
    for class_id in end.held:
        terms = view.class_terms(class_id)
        cells = [books.credits(class_id, terms.decimals) for books in (start, bought, end)]
        shown.add_row(f"buyer: {terms.name}", *cells)
    rows: dict[str, Callable[[Books], str]] = {
        "buyer: dollars": lambda books: usd(books.dollars),
        "providers: earnings": lambda books: usd(books.earnings),
        "reserve: backing": lambda books: usd(books.backing),
        "reserve: fees": lambda books: usd(books.fees),
        "reserve: tokens held": lambda books: usd(books.reserve),
        "backing + earnings + fees = tokens": lambda books: "yes" if books.balanced else "NO",
    }
    for name, cell in rows.items():
        shown.add_row(name, *(cell(books) for books in (start, bought, end)))
    return shown
