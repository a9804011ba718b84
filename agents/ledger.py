"""What an agent has spent, kept in a file so that a restart doesn't forget it.

Spending is reserved before the money moves and counts from then on. If the process dies in between, or the
outcome of a purchase stays unknown, the reservation stays: the agent may stop early, but it can't overspend.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scrip.errors import BadInput, ScripError


class LimitReached(ScripError):
    """A purchase would pass the agent's spending limit. Nothing was sent."""

    def __init__(self, asked: int, left: int, limit: int) -> None:
        self.asked, self.left, self.limit = asked, left, limit
        super().__init__(f"spending limit: asked {asked}, left {left} of {limit}. Raise the limit to go on")


class Ledger:
    """Spending of one agent in payment-token base units. Safe to share between threads and processes."""

    def __init__(self, path: Path, limit: int) -> None:
        """`limit` bounds everything ever spent through the file at `path`."""
        if limit < 0:
            raise BadInput("limit", limit, "at least 0")
        self.path, self.limit = path, limit

    def spent(self, prefix: str = "") -> int:
        """Everything spent and reserved, under keys that begin with `prefix`."""
        with self._locked() as state:
            return sum(amount for key, amount in state.items() if key.startswith(prefix))

    def left(self) -> int:
        """What may still be spent."""
        return max(0, self.limit - self.spent())

    def holds(self, key: str) -> bool:
        """Whether something was reserved under a key, settled or not."""
        with self._locked() as state:
            return key in state

    def reserve(self, key: str, amount: int) -> None:
        """Count `amount` as spent under a key of the caller's. Raises LimitReached, BadInput."""
        with self._locked() as state:
            if key in state or amount < 0:
                raise BadInput("reservation", f"{key}: {amount}", "a new key and an amount of at least 0")
            left = self.limit - sum(state.values())
            if amount > left:
                raise LimitReached(amount, max(0, left), self.limit)
            state[key] = amount

    def settle(self, key: str, amount: int) -> None:
        """Replace a reservation by what was really spent; 0 if provably nothing was. Never raises it."""
        with self._locked() as state:
            if not 0 <= amount <= state.get(key, -1):
                raise BadInput("settlement", f"{key}: {amount}", f"at most the reserved {state.get(key)}")
            state[key] = amount

    @contextmanager
    def _locked(self) -> Iterator[dict[str, int]]:
        """The state, under a lock; what the block changes is written before the lock is given up."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._read()
            before = dict(state)
            yield state
            if state != before:
                self._write(state)

    def _read(self) -> dict[str, int]:
        try:
            data = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise BadInput(f"ledger {self.path}", str(error), "JSON") from None
        # A ledger that can't be understood must stop the agent, not reset its spending.
        if not isinstance(data, dict) or not all(
            type(value) is int and value >= 0 for value in data.values()
        ):
            raise BadInput(f"ledger {self.path}", data, "an object of amounts")
        return data

    def _write(self, state: dict[str, int]) -> None:
        draft = self.path.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
