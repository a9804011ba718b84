"""Compiles the replay library with the C compiler at hand, once per version of its sources.

Where NVIDIA's nvml.h is installed (PyPI nvidia-nvml-dev: dev machines and CI) the sources are compiled
against it, so a prototype that differs from NVML's fails the build. A plain installation compiles against our
own declarations.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from oracle.telemetry.base import TelemetryError

SONAME: Final = "libnvidia-ml.so.1"
STEADY_TRACE: Final = Path(__file__).with_name("traces") / "steady_h100.trace"
"""One busy H100, for ever: what a simulated GPU plays unless told otherwise."""
_HERE: Final = Path(__file__).parent
_SOURCES: Final = ("nvml_replay.c", "devices.c", "readings.c", "processes.c", "gpm.c", "trace.c")
_HEADERS: Final = ("nvml_abi.h", "replay.h", "trace.h")
_FLAGS: Final = (
    "-std=c99",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fPIC",
    "-shared",
    f"-Wl,-soname,{SONAME}",
)
_COMPILE_SECONDS: Final = 60


class ReplayUnavailable(TelemetryError):
    """The replay library can't be built here."""


def nvml_header() -> Path | None:
    """NVIDIA's nvml.h from PyPI nvidia-nvml-dev, or None when that isn't installed."""
    try:
        files = metadata.distribution("nvidia-nvml-dev").files or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.name == "nvml.h"]
    return found[0] if found else None


def build(directory: Path | None = None, *, use_nvml_header: bool = True, compiler: str = "gcc") -> Path:
    """The library's path, compiled into `directory` unless that very version is there already.

    `directory` defaults to build/replay of a checkout, else to a temporary one removed when the process ends.
    `use_nvml_header` checks against NVIDIA's nvml.h where that is installed. Raises ReplayUnavailable.
    """
    path = shutil.which(compiler)
    if path is None:
        raise ReplayUnavailable(
            f"no {compiler} found to build the simulated GPU with: install gcc, or run without it"
        )
    header = nvml_header() if use_nvml_header else None
    flags = [*_FLAGS] if header is None else [*_FLAGS, "-DUSE_NVML_H", f"-I{header.parent}"]
    target = (directory or _default_directory()) / _version(flags, header) / SONAME
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile(path, flags, target)
    return target


def _compile(compiler: str, flags: list[str], target: Path) -> None:
    """Into a name of our own first: another process may be building or loading the same file."""
    handle, partial = tempfile.mkstemp(dir=target.parent, suffix=".so")
    os.close(handle)
    command = [compiler, *flags, "-o", partial, *(str(_HERE / source) for source in _SOURCES), "-lpthread"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False)
        if done.returncode != 0:
            raise ReplayUnavailable(f"{compiler} failed on the replay library:\n{done.stderr.strip()}")
        Path(partial).chmod(0o755)
        Path(partial).replace(target)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ReplayUnavailable(f"{compiler} could not build the replay library: {problem}") from problem
    finally:
        Path(partial).unlink(missing_ok=True)


def _version(flags: list[str], header: Path | None) -> str:
    digest = hashlib.sha256("\0".join(flags).encode())
    for name in (*_SOURCES, *_HEADERS):
        digest.update((_HERE / name).read_bytes())
    if header is not None:
        digest.update(header.read_bytes())
    return digest.hexdigest()[:16]


def _default_directory() -> Path:
    checkout = _HERE.parents[2]
    if (checkout / "pyproject.toml").is_file() and os.access(checkout, os.W_OK):
        return checkout / "build" / "replay"
    return Path(_scratch().name)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="scrip-replay-")
