"""Claiming what sessions were charged: form, send, find out. Never twice, and nothing is forgotten.

A claim is one `claimBatch`. Its rows are stored before anything is sent, its transaction is looked for before
anything is sent again, and what became of each row is read from the chain, never assumed. Rows are
cumulative, so nothing is lost by a row that fails: the next claim of its session takes it along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from web3.logs import DISCARD

from oracle.gateway.accounts import Accounts
from oracle.gateway.claim_book import ClaimBook, ClaimStage, Row
from oracle.gateway.metrics import GatewayMetrics
from oracle.gateway.tables import ClaimRow
from oracle.logging import get
from oracle.outbox import Outbox
from oracle.settings_gateway import GatewaySettings
from oracle.tracing import span
from scrip.calls import Call, signature
from scrip.chain import Chain
from scrip.errors import Reverted

MAX_LIVE: Final = 4
"""Claims that are worked on at once."""
_CONTRACT: Final = "MeteredSessions"

_log = get(__name__)


class Claims:
    """Forms claims and takes each one step at a time. `sender` is the address that sends, None in a dry run:
    then nothing is formed.
    """

    def __init__(
        self,
        *,
        book: ClaimBook,
        accounts: Accounts,
        chain: Chain,
        outbox: Outbox,
        sender: str | None,
        settings: GatewaySettings,
        metrics: GatewayMetrics,
        now: Callable[[], int],
    ) -> None:
        """`now` is chain time, unix seconds."""
        self._book, self._accounts, self._chain, self._outbox = book, accounts, chain, outbox
        self._sender, self._settings, self._metrics, self._now = sender, settings, metrics, now
        self._provider = accounts.chain.provider

    def form(self) -> None:
        """Put the sessions whose claim is due into claims, as many as can be worked on."""
        if self._sender is None:
            return
        room = MAX_LIVE - len(self._book.live())
        if room <= 0:
            return
        most = self._settings.claim_batch
        rules = self._settings.claim_units, self._settings.claim_age_s * 1000
        alone, together = self._book.due(*rules, self._now(), room * most)
        groups = [[row] for row in alone] + [together[at : at + most] for at in range(0, len(together), most)]
        for rows in groups[:room]:
            claim = self._book.form(rows)
            _log.info("claim formed", claim=claim.id, sessions=len(rows))

    def live(self) -> Sequence[int]:
        """Claims that aren't decided."""
        return self._book.live()

    def step(self, claim_id: int) -> None:
        """Take a claim as far as it goes now. Raises what the world around raises; see `oracle.tasks`."""
        claim = self._book.claim(claim_id)
        if claim.stage == ClaimStage.FORMED and claim.after_ms <= self._book.now_ms():
            with span("claim", claim=claim.id):
                claim = self._send(claim)
        if claim.stage == ClaimStage.SENDING:
            with span("claimed", claim=claim.id):
                self._resolve(claim)

    # Sending

    def _send(self, claim: ClaimRow) -> ClaimRow:
        label, rows = _label(claim), self._book.rows(claim)
        claim = self._book.advance(claim, ClaimStage.SENDING)
        if self._outbox.outstanding(label):
            return claim
        if bad := self._bad_rows(rows):
            # Found before any gas is paid. The others are claimed anew, without them.
            self._close(claim, ClaimStage.DROPPED, rows, bad, "")
            return self._book.claim(claim.id)
        try:
            self._outbox.send(label, _CONTRACT, "claimBatch", self._provider, [row.claim() for row in rows])
        except Reverted as reverted:
            _log.warning("claim reverts", claim=claim.id, reason=str(reverted))
            reasons = {row.session: str(reverted) for row in rows}
            self._close(claim, ClaimStage.DROPPED, rows, reasons, str(reverted))
            return self._book.claim(claim.id)
        _log.info("claim sent", claim=claim.id, sessions=len(rows))
        return claim

    def _bad_rows(self, rows: Sequence[Row]) -> dict[bytes, str]:
        """Why rows would be skipped now, by session. One call tells whether any would."""
        answer = self._try("claimBatch", self._provider, [row.claim() for row in rows])
        (taken,) = signature(_CONTRACT, "claimBatch").decode(answer)
        if taken == len(rows):
            return {}
        bad = {}
        for row in rows:
            try:
                self._try("claim", row.claim())
            except Reverted as reverted:
                bad[row.session] = str(reverted)
        return bad

    def _try(self, function: str, *arguments: object) -> bytes:
        data = signature(_CONTRACT, function).encode(arguments)
        return self._chain.call(Call(self._chain.address(_CONTRACT), data).params(self._sender))

    # Finding out

    def _resolve(self, claim: ClaimRow) -> None:
        """Ask the chain what became of the rows, once nothing of the claim can take effect any more."""
        label, rows = _label(claim), self._book.rows(claim)
        if self._outbox.outstanding(label):
            return
        mined = self._outbox.mined(label)
        finalized = self._chain.at(self._chain.finalized())
        states = finalized.sessions([row.session for row in rows])
        open_ = [
            row
            for row, state in zip(rows, states, strict=True)
            if state.claimed < row.units and not state.closed
        ]
        if mined is None and len(open_) == len(rows):
            # Never mined, and nothing in flight: the same rows are sent again, under a new label.
            reason = "the transaction never took effect"
            _log.warning("claim sent again", claim=claim.id, reason=reason)
            self._book.again(claim, self._settings.claim_retry_s * 1000, reason)
            return
        skipped = self._skipped(label) if open_ and mined is not None else {}
        bad = {row.session: skipped.get(row.session, "the claim took no effect") for row in open_}
        self._close(claim, ClaimStage.DONE, rows, bad, "", mined)

    def _close(
        self,
        claim: ClaimRow,
        stage: ClaimStage,
        rows: Sequence[Row],
        bad: dict[bytes, str],
        reason: str,
        mined: bytes | None = None,
    ) -> None:
        """End a claim. What accounts know of the chain is renewed before their sessions can be claimed again,
        so that nothing is claimed that was.
        """
        self._accounts.refresh([row.session for row in rows])
        self._book.close(claim, stage, bad, self._settings.claim_retry_s * 1000, reason, mined)
        paid = len(rows) - len(bad) if stage is ClaimStage.DONE else 0
        self._metrics.claims.labels("paid").inc(paid)
        self._metrics.claims.labels("skipped").inc(len(bad))
        for session, why in bad.items():
            _log.warning("session not claimed", session=session.hex()[:12], claim=claim.id, reason=why)

    def _skipped(self, label: str) -> dict[bytes, str]:
        """Why the contract left rows out, by session."""
        receipt = self._outbox.receipt(label)
        if receipt is None:
            return {}
        event = self._chain.contract(_CONTRACT).events.ClaimSkipped()
        found: dict[bytes, str] = {}
        for log in event.process_receipt(receipt, errors=DISCARD):
            args: Any = log["args"]
            entry = self._chain.errors.get(bytes(args["reason"]), {"name": "unknown"})
            found[bytes(args["sessionId"])] = f"{entry['name']}: given {args['given']}, limit {args['limit']}"
        return found


def _label(claim: ClaimRow) -> str:
    """Name of the intent, for the outbox."""
    return f"session claim {claim.id}.{claim.tries}"
