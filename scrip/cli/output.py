"""What commands print: JSON for programs, tables for people.

Text from outside never controls the terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from scrip.view import ChainView

PIPE_WIDTH = 200
"""Columns of tables that don't go to a terminal: wide enough not to cut ids in two."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, no emoji codes, no guessed highlights."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def print_json(data: object, *, stderr: bool = False) -> None:
    """One JSON value on a stream, ASCII only. Keys keep their order."""
    stream = sys.stderr if stderr else sys.stdout
    stream.write(json.dumps(data, indent=None if stderr else 2, ensure_ascii=True) + "\n")
    stream.flush()


def clean(text: str, *, lines: bool = False) -> str:
    """`text` without characters that move the cursor, colour or reorder; `lines` keeps line ends and tabs."""
    return "".join(char if _harmless(char, lines) else _REPLACEMENT for char in text)


def _harmless(char: str, lines: bool) -> bool:
    if char in "\n\t":
        return lines
    return unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") and char not in _BIDI


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = set(right)
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return made


def facts(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and their values, a line each. Long ids are left whole, for copying."""
    from rich.text import Text

    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        console.print(Text.assemble((name.ljust(width), "dim"), "  ", value), soft_wrap=True)


def utc(seconds: int) -> str:
    """A time on chain (unix seconds) as text; "never" for 0."""
    if seconds == 0:
        return "never"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} (unix seconds)"


def hexed(raw: bytes) -> str:
    """0x and the hex digits."""
    return "0x" + raw.hex()


def yes_no(value: bool) -> str:
    """For tables."""
    return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Token:
    """A payment token as people know it. `decimals` and `symbol` are what its contract states."""

    address: str
    symbol: str
    decimals: int

    def text(self, amount: int) -> str:
        """Exact amount with the symbol, e.g. "12.5 dUSD"."""
        from scrip.amounts import format_units

        return f"{format_units(amount, self.decimals)} {self.symbol}"

    def to_json(self, amount: int) -> dict[str, str]:
        """Exact amount, both as people and as contracts count."""
        from scrip.amounts import format_units

        shown = format_units(amount, self.decimals)
        return {"amount": shown, "symbol": self.symbol, "baseUnits": str(amount), "token": self.address}


class Tokens:
    """Payment tokens by address, each read once.

    One that states neither symbol nor decimals is counted in base units.
    """

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._known: dict[str, Token] = {}

    def at(self, address: str) -> Token:
        """The token at `address`."""
        if address not in self._known:
            self._known[address] = self._read(address)
        return self._known[address]

    def _read(self, address: str) -> Token:
        from scrip.errors import NodeUnavailable, ScripError

        try:
            symbol, decimals = self._view.token_symbol(address), self._view.token_decimals(address)
        except NodeUnavailable:
            raise
        except ScripError:
            return Token(address, f"base units of {address}", 0)
        # A decimals() beyond any real token's would make `format_units` refuse.
        return Token(address, clean(symbol)[:32], decimals if decimals <= 77 else 0)


def units_json(units: int, decimals: int) -> dict[str, Any]:
    """Units of a class, both as credits and in base units."""
    from scrip.amounts import format_units

    return {"credits": format_units(units, decimals), "units": str(units)}
