"""The life of a job in our store, and of a settlement. Pure.

    quoted ─► open ─► accepting ─► queued ─► executing ─► metered ─► signing ─► signed ─► submitting
      │        │                     ▲           │           ▲          │          │          │
      ▼        ▼                     └───────────┘           └──────────┴──────────┴──────────┤
    lapsed  cancelling              (restart, retry)            (row refused or skipped)      ▼
                                                                   disputed ◄─ submitted ─► finalizing
                                                                       └────────────────────────▲

A state named after an action (accepting, executing, submitting, finalizing, cancelling) is stored before the
action takes effect, so after a crash it says what may have happened; the chain says what did. Every state may
end in settled, refunded, cancelled, expired or lapsed, because the chain has the last word. Nothing leaves
those.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from scrip.types import Status


class State(StrEnum):
    """Where a job is, as far as this node knows."""

    QUOTED = "quoted"
    """We signed an offer; the job isn't on chain yet."""
    OPEN = "open"
    """On chain, not taken yet: it waits for its spec or for room."""
    ACCEPTING = "accepting"
    """`accept` is about to be sent, or was."""
    QUEUED = "queued"
    """Ours to run, waiting for a slot."""
    EXECUTING = "executing"
    """A process runs, or ran when we were killed."""
    METERED = "metered"
    """Evidence and an unsigned receipt are stored."""
    SIGNING = "signing"
    """Part of a settlement that watchers are asked to co-sign."""
    SIGNED = "signed"
    """Part of a settlement whose signatures are stored."""
    SUBMITTING = "submitting"
    """Its settlement is about to be sent, or was."""
    SUBMITTED = "submitted"
    """On chain, in its challenge window."""
    DISPUTED = "disputed"
    """Challenged on chain: arbiters decide, or nobody does in time."""
    FINALIZING = "finalizing"
    """`finalize` is about to be sent, or was."""
    CANCELLING = "cancelling"
    """`cancel` is about to be sent, or was."""
    SETTLED = "settled"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LAPSED = "lapsed"
    """The quote was never used, or the job left the chain."""

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to the job."""
        return self in FINAL


class Stage(StrEnum):
    """Where a settlement (one `submit` or `submitBatch`) is."""

    COLLECTING = "collecting"
    """Rows are fixed; signatures are being collected."""
    SIGNED = "signed"
    SENDING = "sending"
    DONE = "done"
    """Every row is decided; see each job."""
    DROPPED = "dropped"
    """Dissolved: its jobs went back."""


FINAL: Final = frozenset({State.SETTLED, State.REFUNDED, State.CANCELLED, State.EXPIRED, State.LAPSED})
LIVE_STAGES: Final = (Stage.COLLECTING, Stage.SIGNED, Stage.SENDING)

ACTIVE: Final = frozenset(State) - FINAL
BOUND: Final = frozenset({State.SIGNING, State.SIGNED, State.SUBMITTING})
"""States of a job that a live settlement holds."""
BUSY: Final = (State.QUOTED, State.ACCEPTING, State.QUEUED, State.EXECUTING)
"""States that hold one of the places that `slots + queue` counts."""

ON_CHAIN_FINAL: Final = {
    Status.SETTLED: State.SETTLED,
    Status.REFUNDED: State.REFUNDED,
    Status.CANCELLED: State.CANCELLED,
    Status.EXPIRED: State.EXPIRED,
}
"""What a final status on chain makes of a job here."""

_REVIEWED: Final = (State.SUBMITTED, State.DISPUTED)
"""What the chain may say of a job whose receipt it took and hasn't settled."""

_FORWARD: Final[dict[State, frozenset[State]]] = {
    State.QUOTED: frozenset({State.OPEN, State.QUEUED}),
    State.OPEN: frozenset({State.ACCEPTING, State.QUEUED, State.CANCELLING}),
    State.ACCEPTING: frozenset({State.OPEN, State.QUEUED, State.CANCELLING}),
    # To itself: opened anew by a reorganisation, with another nonce.
    State.QUEUED: frozenset({State.QUEUED, State.EXECUTING, State.CANCELLING, State.OPEN}),
    State.EXECUTING: frozenset({State.METERED, State.QUEUED, State.CANCELLING}),
    State.METERED: frozenset({State.METERED, State.SIGNING, State.QUEUED, State.CANCELLING, *_REVIEWED}),
    State.SIGNING: frozenset({State.SIGNED, State.METERED, *_REVIEWED}),
    State.SIGNED: frozenset({State.SUBMITTING, State.METERED, *_REVIEWED}),
    State.SUBMITTING: frozenset({State.SIGNED, State.METERED, *_REVIEWED}),
    State.SUBMITTED: frozenset({State.FINALIZING, State.DISPUTED}),
    State.DISPUTED: frozenset({State.FINALIZING}),
    State.FINALIZING: frozenset(_REVIEWED),
    State.CANCELLING: frozenset({State.OPEN, State.QUEUED}),
}


def may_follow(state: State, after: State) -> bool:
    """Whether a job in `after` may go to `state`."""
    if after in FINAL:
        return False
    return state in FINAL or state in _FORWARD[after]
