"""Runs the commands of one step: a line when it starts, one every 15 s, one with the seconds at its end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TICK_SECONDS = 15
TAIL_LINES = 25


class StepFailed(Exception):
    """A command of a step failed. The message names the step, the command and where its output lies."""


def say(text: str) -> None:
    """Print one progress line at once, also into a pipe."""
    print(f"[setup] {text}", flush=True)


class Step:
    """One named step with its own log file."""

    def __init__(self, name: str, log: Path, cwd: Path) -> None:
        self.name = name
        self._log = log
        self._cwd = cwd

    def run(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Run one command into the log; raises StepFailed with the log's end if it fails or is too slow."""
        argv = [str(part) for part in command]
        with self._log.open("a") as log:
            log.write(f"$ {' '.join(argv)}\n")
            log.flush()
            try:
                subprocess.run(
                    argv,
                    cwd=self._cwd,
                    env=env,
                    timeout=timeout,
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            except subprocess.TimeoutExpired:
                raise self._failure(argv, f"did not end within {timeout:.0f} s") from None
            except subprocess.CalledProcessError as error:
                raise self._failure(argv, f"exited with {error.returncode}") from None

    def _failure(self, argv: Sequence[str], what: str) -> StepFailed:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        command = f"{Path(argv[0]).name} {' '.join(argv[1:4])}"
        return StepFailed(f"{self.name}: `{command} ...` {what}\n{tail}\n({self._log})")


@contextmanager
def step(name: str, log_folder: Path, cwd: Path) -> Iterator[Step]:
    """Announce a step, tick while it runs and print how many seconds it took."""
    log_folder.mkdir(parents=True, exist_ok=True)
    log = log_folder / f"{name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    done = threading.Event()
    say(f"{name} ...")
    ticker = threading.Thread(target=_tick, args=(name, started, done), daemon=True)
    ticker.start()
    try:
        yield Step(name, log, cwd)
    finally:
        done.set()
        ticker.join()
    say(f"{name} ... {time.monotonic() - started:.0f} s")


def _tick(name: str, started: float, done: threading.Event) -> None:
    while not done.wait(TICK_SECONDS):
        print(f"[setup] {name} ... {time.monotonic() - started:.0f} s so far", flush=True, file=sys.stdout)
