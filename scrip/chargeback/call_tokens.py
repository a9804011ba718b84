"""Tokens of sessions, from the call receipts that one of their parties kept.

The chain knows what a session's claims cost, not how many tokens they were for: that is in the receipts that
the provider signed call by call, and they are as good as its signature.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from scrip.call_receipts import CallReceipt, SignedCallReceipt, check_chain
from scrip.chargeback.entry import Tokens
from scrip.errors import BadInput

if TYPE_CHECKING:
    from scrip.view import ChainView

MAX_FILE_BYTES: Final = 256 << 20
"""A receipt is about 700 bytes of JSON."""


@dataclass(slots=True)
class CallTokens:
    """Call receipts by session, in order of their number."""

    _of: dict[bytes, list[CallReceipt]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, view: ChainView) -> Self:
        """Receipts of a file, one JSON object a line (`SignedCallReceipt.to_json`), in any order.

        Raises BadInput if it isn't such a file, ReceiptWrong if one isn't signed by its provider's oracle
        key or receipts of a session contradict each other, NotFound for a session that was never opened.
        """
        return cls.checked(_read(path), view)

    @classmethod
    def checked(cls, receipts: Iterable[SignedCallReceipt], view: ChainView) -> Self:
        """The same for receipts at hand."""
        found: dict[bytes, dict[int, SignedCallReceipt]] = defaultdict(dict)
        for one in receipts:
            found[one.receipt.session_id][one.receipt.number] = one
        chain_id, sessions = view.chain.chain_id, view.chain.address("MeteredSessions")
        made = cls()
        for session, numbered in found.items():
            signed = [numbered[number] for number in sorted(numbered)]
            oracle = view.oracle_of(_provider(view, session))
            for one in signed:
                one.check_signer(oracle, chain_id, sessions)
            rows = [one.receipt for one in signed]
            check_chain(rows, chain_id, sessions)
            made._of[session] = rows
        return made

    def between(self, session: bytes, after: int, upto: int) -> Tokens | None:
        """Tokens of the calls whose running total lies above `after` and at most at `upto` units.

        None if the receipts don't tell of all of these units.
        """
        rows = self._of.get(session, [])
        wanted = [row for row in rows if after < row.total_units <= upto]
        if not wanted or sum(row.units for row in wanted) != upto - after:
            return None
        return sum(
            (Tokens(row.input_tokens, row.cached_tokens, row.output_tokens) for row in wanted), Tokens()
        )


def _provider(view: ChainView, session: bytes) -> str:
    for event in view.events("MeteredSessions", "SessionOpened", sessionId=session):
        return str(event.args["provider"])
    raise BadInput("call receipts", "0x" + session.hex(), "receipts of sessions of this deployment")


def _read(path: Path) -> Iterable[SignedCallReceipt]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadInput("call receipts", f"{path.stat().st_size} bytes", f"at most {MAX_FILE_BYTES} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("call receipts", str(path), f"a readable text file: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield SignedCallReceipt.from_json(json.loads(line))
            except ValueError:
                raise BadInput(
                    f"{path.name}:{number}", line[:40], "a call receipt as JSON on one line"
                ) from None
