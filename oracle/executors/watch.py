"""What the launcher measures while a job runs: memory, threads, files, a bounded log. Standard library."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any, Final

from oracle.executors import proc
from oracle.executors.proc import Process
from oracle.jobs.names import INPUT, PARAMS, SETTINGS

INPUTS: Final = (PARAMS, SETTINGS, INPUT)
"""Files the executor itself puts into the work directory; they don't count as output."""
OUTPUT_SLACK: Final = 64 * 1024
"""usage.json and the like, beyond the output itself."""
MOST_FILES: Final = 1000
SANDBOX_TASKS: Final = 2
"""Bubblewrap's own two processes."""
_FILES_EVERY: Final = 4
_HEAD: Final = 16 * 1024
_TAIL: Final = 48 * 1024


class Log:
    """The first 16 KiB and the last 48 KiB of what a job says."""

    def __init__(self) -> None:
        self._head, self._tail, self._left_out = bytearray(), bytearray(), 0

    def read(self, end: int) -> bool:
        """Takes what a non-blocking pipe holds. False at its end, or when it is empty."""
        try:
            data = os.read(end, 65536)
        except BlockingIOError:
            return False
        self._add(data)
        return bool(data)

    def text(self) -> str:
        """What was kept; a line tells how much wasn't."""
        gap = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode(errors="replace")

    def _add(self, data: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > _TAIL:
            self._left_out += len(self._tail) - _TAIL
            del self._tail[: len(self._tail) - _TAIL]


class Watch:
    """Says when a job exceeds what it was given."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._workdir: str = order["workdir"]
        self._memory: int = order["memory_bytes"]
        self._output: int = order["output_bytes"]
        self._tasks: int = order["processes"] + (SANDBOX_TASKS if order["sandboxed"] else 0)
        self._ticks = 0
        self.peak_rss_bytes = 0

    def exceeded(self, processes: Sequence[Process]) -> str:
        """The limit exceeded now ("memory", "processes", "output"), or "". Files are looked at every fourth
        time.
        """
        used = sum(process.rss_bytes for process in processes)
        if used > self._memory:  # pages that forked processes share were counted again and again: look closer
            used = sum(proc.proportional_bytes(process) for process in processes)
        self.peak_rss_bytes = max(self.peak_rss_bytes, used)
        if used > self._memory:
            return "memory"
        if sum(process.threads for process in processes) > self._tasks:
            return "processes"
        self._ticks += 1
        if self._ticks % _FILES_EVERY == 0 and self._too_much_output():
            return "output"
        return ""

    def explain(self, code: int | None, number: int | None, peak: int) -> str:
        """The reason for an end that we didn't bring about.

        Limits set in the kernel end a job by a signal or by an error it reports itself; the traces tell
        which.
        """
        if number == signal.SIGXCPU:
            return "timeout"
        if number == signal.SIGXFSZ or self._too_much_output():
            return "output"
        if code == 0:
            return "ok"
        if self._largest_file() >= self._output:  # it was cut off there, and gave up
            return "output"
        return "memory" if peak > self._memory else "failed"

    def _too_much_output(self) -> bool:
        sizes = self._sizes()
        return len(sizes) > MOST_FILES or sum(sizes) > self._output + OUTPUT_SLACK

    def _largest_file(self) -> int:
        return max(self._sizes(), default=0)

    def _sizes(self) -> list[int]:
        """Sizes of the files the job made, at most MOST_FILES + 1 of them. Links aren't followed."""
        sizes: list[int] = []
        folders = [self._workdir]
        while folders and len(sizes) <= MOST_FILES:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif entry.name not in INPUTS:
                            sizes.append(entry.stat(follow_symlinks=False).st_size)
                        if len(sizes) > MOST_FILES:
                            break
            except FileNotFoundError:
                continue  # removed while we looked
            except OSError:
                return [self._output + OUTPUT_SLACK + 1]  # it hides a folder from us: treated as too much
        return sizes
