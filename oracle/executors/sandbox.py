"""The bubblewrap sandbox of a job: what it sees, and whether it works on this machine.

A job sees the system's libraries, the Python it runs on and the packages of its program, all read-only, and
its own work directory as /job, the only place where it can write. No network but its own loopback, unless its
template says so, no home, no other processes, a PID namespace that dies with its supervisor, no
capabilities. Leased GPUs add their device nodes.
"""

from __future__ import annotations

import glob
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

JOB_DIR: Final = "/job"
"""Where a job finds its work directory inside the sandbox."""

_SYSTEM: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
_ETC: Final = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_ETC_NETWORK: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
)
"""What name resolution and TLS need. No private key is among them."""
_NO_NESTING: Final = ("--unshare-user", "--disable-userns")
"""In a user namespace of its own a job would have capabilities again, and more of the kernel to attack."""
_PROBE_TIMEOUT_S: Final = 20


class Sandbox:
    """Builds bubblewrap command lines. `packages` are directories of Python packages, bound at their own
    paths.
    """

    def __init__(self, bwrap: str, packages: Sequence[Path], options: Sequence[str] = ()) -> None:
        self._bwrap = bwrap
        self._packages = tuple(packages)
        self._options = tuple(options)

    def wrap(
        self, argv: Sequence[str], workdir: Path, *, gpus: bool = False, network: bool = False
    ) -> list[str]:
        """`argv` inside the sandbox."""
        words = [self._bwrap, "--unshare-all", *self._options, "--die-with-parent", "--new-session"]
        words += ["--share-net"] if network else []
        words += [
            "--hostname",
            "job",
            "--cap-drop",
            "ALL",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--ro-bind",
            "/usr",
            "/usr",
        ]
        for name in _SYSTEM:
            words += _system_words(Path(name))
        for name in (*_ETC, *(_ETC_NETWORK if network else ())):
            words += ["--ro-bind-try", name, name]
        for path in self._read_only():
            words += ["--ro-bind", str(path), str(path)]
        if gpus:
            words += _gpu_words()
        words += ["--bind", str(workdir), JOB_DIR]
        # Bubblewrap's own root and /dev are in memory: left writable, they'd escape the output limit. And
        # /proc/sys obeys uid 0 even without capabilities: a job of an oracle run by root could change
        # the kernel's settings.
        for place in ("/proc", "/dev", "/"):
            words += ["--remount-ro", place]
        return [*words, "--chdir", JOB_DIR, "--", *argv]

    def problem(self) -> str:
        """Why the sandbox doesn't work here, or "". Really runs this Python in it."""
        with tempfile.TemporaryDirectory(prefix="scrip-probe-") as workdir:
            command = self.wrap([sys.executable, "-I", "-S", "-c", ""], Path(workdir))
            try:
                done = subprocess.run(
                    command, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT_S
                )
            except OSError as problem:
                return f"{self._bwrap}: {problem.strerror}"
            except subprocess.TimeoutExpired:
                return f"no answer within {_PROBE_TIMEOUT_S} s"
        said = done.stderr.decode(errors="replace").strip()
        return "" if done.returncode == 0 else said[:300] or f"exit code {done.returncode}"

    def _read_only(self) -> list[Path]:
        """Directories to bind, outer ones first, none inside another and none that /usr already holds."""
        wanted = [*_python_directories(), *self._packages]
        wanted += [path.resolve() for path in wanted]
        kept: list[Path] = []
        for path in sorted(set(wanted), key=lambda each: len(each.parts)):
            if not any(path.is_relative_to(outer) for outer in (Path("/usr"), *kept)):
                kept.append(path)
        return kept


def find(packages: Sequence[Path]) -> tuple[Sandbox | None, str]:
    """A sandbox that works here, or None and why not."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None, "bwrap isn't installed"
    problem = ""
    for options in (_NO_NESTING, ()):  # bubblewrap before 0.8 doesn't know the option
        sandbox = Sandbox(bwrap, packages, options)
        problem = sandbox.problem()
        if not problem:
            return sandbox, ""
    return None, problem


def _system_words(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []


def _python_directories() -> Iterable[Path]:
    """The virtual environment, the Python it was made from, and where a linked executable really is."""
    yield Path(sys.prefix)
    yield Path(sys.base_prefix)
    executable = Path(sys.executable).resolve()
    if executable.parent.name == "bin":
        yield executable.parent.parent
    for name in ("stdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name))


def _gpu_words() -> list[str]:
    words = ["--ro-bind-try", "/sys", "/sys"]
    for node in sorted(glob.glob("/dev/nvidia*")):
        words += ["--dev-bind", node, node]
    return words
