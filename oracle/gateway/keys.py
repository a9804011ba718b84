"""API keys: each bound to one session, with limits of its own, revocable at once.

A secret is 256 random bits, so its plain SHA-256 is as hard to turn back as any slower hash, and costs a call
nothing. It is shown once and stored nowhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from oracle.gateway.account import KeyState
from oracle.gateway.book import state_of
from oracle.gateway.refusals import BadCredential, NotAtHand, TooManyCalls
from oracle.gateway.tables import KeyRow
from oracle.gateway.usage import KeyCredential
from oracle.logging import get
from scrip.errors import BadInput, NotFound, Refused
from scrip.structs import to_int

if TYPE_CHECKING:
    from oracle.gateway.accounts import Accounts

PREFIX: Final = "sk-scrip-"
SECRET_BYTES: Final = 32
NAME_CHARS: Final = 64
MOST_PER_MINUTE: Final = 1_000_000

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do. `cap` is base units in all; `expires_at` unix seconds, 0 never; `per_minute` calls,
    0 without limit; no `models` is any.
    """

    cap: int
    models: tuple[str, ...] = ()
    expires_at: int = 0
    per_minute: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        to_int("key.capUnits", self.cap, 96)
        to_int("key.expiresAt", self.expires_at, 40)
        if not 0 <= to_int("key.callsPerMinute", self.per_minute) <= MOST_PER_MINUTE:
            raise BadInput("key.callsPerMinute", self.per_minute, f"at most {MOST_PER_MINUTE}")
        if len(self.name) > NAME_CHARS:
            raise BadInput("key.name", self.name, f"at most {NAME_CHARS} characters")


class Keys:
    """The API keys of all sessions. Thread-safe. `most` is how many valid ones a session may have."""

    def __init__(self, accounts: Accounts, most: int) -> None:
        self._accounts, self._most = accounts, most
        self._known: dict[bytes, tuple[bytes, str]] = {}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def create(self, session: bytes, limits: KeyLimits) -> tuple[KeyRow, str]:
        """A new key and its secret, which nobody can see again. Raises UnknownSession, BadInput, Refused."""
        account = self._accounts.roster.account(session)
        for model in limits.models:
            self._accounts.rates.rate(account.terms.class_id, model)
        now_ms, secret = self._accounts.book.store.now_ms(), PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        row = KeyRow(
            key_id="key_" + secrets.token_hex(8), session_id=session, secret_hash=hashed(secret),
            name=limits.name, cap=limits.cap, spent=0, models_json=json.dumps(limits.models),
            expires_ms=limits.expires_at * 1000, per_minute=limits.per_minute, created_ms=now_ms,
            revoked_ms=0,
        )  # fmt: skip
        with account.lock:
            valid = sum(1 for key in self.list(session) if not key.revoked_ms)
            if valid >= self._most:
                raise Refused(f"the session has {valid} API keys, the most is {self._most}. Revoke one first")
            with self._accounts.book.writing() as db:
                db.add(row)
        _log.info("API key made", session=session.hex()[:12], key=row.key_id, cap=limits.cap)
        return row, secret

    def list(self, session: bytes) -> Sequence[KeyRow]:
        """The session's keys, oldest first, revoked ones too."""
        return self._accounts.book.keys(session)

    def revoke(self, session: bytes, key_id: str) -> None:
        """End a key, from this moment on; calls in progress are still charged. Raises NotFound."""
        account = self._accounts.roster.account(session)
        with account.lock, self._accounts.book.writing() as db:
            row = db.get(KeyRow, key_id)
            if row is None or row.session_id != session:
                raise NotFound("API key", key_id, "This session has no such key")
            row.revoked_ms = row.revoked_ms or self._accounts.book.store.now_ms()
            if key_id in account.keys:
                account.keys[key_id].revoked = True
        _log.info("API key revoked", session=session.hex()[:12], key=key_id)

    def find(self, credential: KeyCredential, *, waits: bool = True) -> KeyState:
        """The key with this secret. Raises BadCredential; unless it `waits`, NotAtHand if the key isn't in
        memory.
        """
        # A name for it here. SHA-256, by OpenSSL, takes three times as long until the first byte.
        known = hashlib.blake2b(credential.secret.encode("utf-8", "replace")).digest()
        session, key_id = self._known.get(known, (b"", ""))
        account = self._accounts.roster.find(session)
        if account is not None and key_id in account.keys:
            return account.keys[key_id]
        if not waits:
            raise NotAtHand("the API key must be read")
        key = self._load(hashed(credential.secret))
        self._known[known] = (key.session, key.key_id)
        return key

    def _load(self, key_hash: bytes) -> KeyState:
        row = self._accounts.book.key_with(key_hash)
        if row is None:
            raise BadCredential("unknown API key. Make one with: scrip session key create")
        account = self._accounts.roster.account(row.session_id)
        with account.lock:  # so that it can't be revoked between reading and remembering
            rows = {row.key_id: row for row in self.list(account.session)}
            return account.keys.setdefault(row.key_id, state_of(rows[row.key_id]))

    def count(self, key: KeyState) -> None:
        """Count a call by this key. Raises TooManyCalls."""
        if not key.per_minute:
            return
        item = RateLimitItemPerMinute(key.per_minute)
        if self._limiter.hit(item, key.key_id):
            return
        again = math.ceil(self._limiter.get_window_stats(item, key.key_id).reset_time - time.time())
        raise TooManyCalls(
            f"API key {key.key_id} may make {key.per_minute} calls a minute. Try again in {max(1, again)} s",
            None, f"{key.per_minute} a minute", max(1, again),
        )  # fmt: skip


def hashed(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
