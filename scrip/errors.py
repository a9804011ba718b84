"""Every error this project raises on purpose.

A message says what went wrong, what was given, what the limit is and, where there is one, the next step.
Anything that isn't a `ScripError` is a bug or the machine's own failure and is never caught as one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ScripError(Exception):
    """Base of every deliberate error."""


class BadInput(ScripError):
    """A value from outside is out of range or malformed.

    `field` names the value, `given` is what came in, `limit` says what is allowed.
    """

    def __init__(self, field: str, given: object, limit: object, hint: str = "") -> None:
        self.field, self.given, self.limit, self.hint = field, given, limit, hint
        tail = f". {hint}" if hint else ""
        super().__init__(f"{field}: given {_clip(given)}, must be {limit}{tail}")


class BadSignature(BadInput):
    """A signature is malformed, malleable or doesn't recover to a key."""


class NotFound(ScripError):
    """A thing that was asked for by id doesn't exist."""

    def __init__(self, what: str, ident: object, hint: str = "") -> None:
        self.what, self.ident, self.hint = what, ident, hint
        tail = f". {hint}" if hint else ""
        super().__init__(f"{what} {_show(ident)} not found{tail}")


class KeyProblem(ScripError):
    """A key can't be loaded or may not be used here. Never holds key material or a password."""


class EvidenceInvalid(ScripError):
    """Evidence failed one named check."""

    def __init__(self, check: str, detail: str) -> None:
        self.check, self.detail = check, detail
        super().__init__(f"evidence fails {check}: {detail}")


class Refused(ScripError):
    """A request is well-formed, and we decline it for the reason given."""

    def __init__(self, reason: str, check: str = "") -> None:
        self.reason, self.check = reason, check
        super().__init__(f"refused by {check}: {reason}" if check else f"refused: {reason}")


class ChainError(ScripError):
    """The chain or the node in front of it answered with a problem."""


class NodeUnavailable(ChainError):
    """A node didn't answer, or not with JSON-RPC. Names its host only, because URLs hold keys.

    `status` is the HTTP status if there was one, `kind` a word for any other failure; `too_slow` says
    that a smaller request may succeed (a timeout, or an answer too large); `transient` that the same
    request may succeed later.
    """

    def __init__(
        self,
        host: str,
        detail: str,
        *,
        status: int | None = None,
        kind: str = "error",
        too_slow: bool = False,
        transient: bool = True,
    ) -> None:
        self.host, self.detail, self.status, self.kind = host, detail, status, kind
        self.too_slow, self.transient = too_slow, transient
        super().__init__(f"node {host}: {detail}")


class NodeDeclined(ChainError):
    """A node answered a request with an error of its own. The text is the node's."""


class WrongChain(ChainError):
    """The node serves another chain, or another deployment, than the one expected."""


class RpcLimit(ChainError):
    """A node refuses a log query even over a single block."""

    def __init__(self, block: int, detail: str) -> None:
        self.block, self.detail = block, detail
        super().__init__(f"node refuses the logs of block {block} alone: {detail}. Use another node")


class Reverted(ChainError):
    """A call reverted, in simulation (`tx_hash` is None, nothing was sent) or on chain.

    `name` is the custom error's name, or "Error", "Panic", "OutOfGas" or "Unknown"; `params` holds its
    arguments by name, complete.
    """

    def __init__(self, name: str, params: Mapping[str, Any], tx_hash: bytes | None = None) -> None:
        self.name, self.params, self.tx_hash = name, dict(params), tx_hash
        inside = ", ".join(f"{key}={_show(value)}" for key, value in self.params.items())
        where = f" in transaction 0x{tx_hash.hex()}" if tx_hash is not None else ""
        super().__init__(f"{name}({inside}){where}")


class TxRejected(ChainError):
    """The node refused a transaction (e.g. no funds for gas). It isn't in flight and its nonce is free."""

    def __init__(self, label: str, detail: str) -> None:
        self.label, self.detail = label, detail
        super().__init__(f"{label}: node refused the transaction: {detail}")


class TxUnknown(ChainError):
    """A recorded transaction is neither mined nor dead yet. It stays in the journal; never send it anew.

    `hashes` are all its versions (same nonce). `Sender.reconcile` or `Sender.follow` finds out later.
    """

    def __init__(self, label: str, nonce: int, hashes: Sequence[bytes]) -> None:
        self.label, self.nonce, self.hashes = label, nonce, tuple(hashes)
        known = ", ".join("0x" + h.hex() for h in self.hashes)
        super().__init__(f"{label}: outcome of nonce {nonce} unknown ({known}). Reconcile, don't send again")


class TxLost(ChainError):
    """A recorded transaction can never be mined: another one took its nonce. The caller decides."""

    def __init__(self, label: str, nonce: int, hashes: Sequence[bytes]) -> None:
        self.label, self.nonce, self.hashes = label, nonce, tuple(hashes)
        super().__init__(f"{label}: nonce {nonce} was taken by another transaction of the same account")


def _clip(value: object, most: int = 80) -> str:
    text = _show(value) if isinstance(value, bytes) else repr(value)
    return text if len(text) <= most else text[: most - 2] + ".."


def _show(value: object) -> str:
    """One readable token for a message: long bytes and ids are shortened to their first four bytes."""
    if isinstance(value, bytes):
        text = "0x" + value.hex()
        return text if len(value) <= 20 else text[:10] + ".."
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 128:
        return f"0x{value:064x}"[:10] + ".."
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    return str(value)
