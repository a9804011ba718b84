"""Waiting, with what is waited for shown meanwhile: at a terminal only, on stderr, and never beside JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrip.cli.output import console, hexed

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.cli.context import Context
    from scrip.types import Status


def follow(context: Context, chain: Chain, job: bytes, *, timeout: float, since: int | None) -> Status:
    """Follow a job to its end and show how it goes. Interrupting it leaves the job as it is.

    Raises as `scrip.redeem.follow`.
    """
    from scrip import redeem

    try:
        with _progress(context) as progress:
            return redeem.follow(chain, job, timeout=timeout, since=since, on_status=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped waiting; the job goes on. See: scrip job show {hexed(job)}"
        ) from None


@contextmanager
def busy(context: Context, doing: str) -> Iterator[None]:
    """While a command does something long that prints nothing."""
    err = console(stderr=True)
    if context.as_json or not err.is_terminal:
        yield
        return
    with err.status(doing):
        yield


def patience(context: Context) -> Callable[[float], None] | None:
    """How to sleep while a transaction is on its way; None where nobody looks.

    Each pause has its own line, gone at its end, so that notes in between stay whole.
    """
    err = console(stderr=True)
    if context.as_json or not err.is_terminal:
        return None
    started = time.monotonic()

    def sleep(seconds: float) -> None:
        passed = int(time.monotonic() - started)
        with err.status(f"waiting for the chain, {passed} s (Ctrl-C leaves the transaction on its way)"):
            time.sleep(seconds)

    return sleep


@contextmanager
def _progress(context: Context) -> Iterator[Callable[[Status], None]]:
    """Shows a status: a live line at a terminal, otherwise one line per change, nothing beside JSON."""
    err = console(stderr=True)
    if context.as_json or not err.is_terminal:
        last: list[Status] = []

        def line(status: Status) -> None:
            if last != [status]:
                last[:] = [status]
                context.say(f"job {status.name.lower()}")

        yield line
        return
    started = time.monotonic()
    with err.status("job") as live:
        yield lambda status: live.update(
            f"job {status.name.lower()}, {int(time.monotonic() - started)} s (Ctrl-C leaves it running)"
        )
