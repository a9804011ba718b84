"""Finds NVIDIA's binding, starts NVML, and keeps the way to it open when a GPU is lost.

One initialisation serves the whole process. Without persistence mode it costs seconds, so it is made once,
and again only after something was lost.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

from oracle.telemetry.nvml.errors import (
    NO_NVML,
    NOT_FOUND,
    GpuLost,
    MetricAbsent,
    NvmlFailed,
    NvmlUnavailable,
    failure,
)
from oracle.telemetry.replay.build import build

REPLAY_VERSION: Final = "0.0-scrip-replay"
_REPLAY_SYMBOL: Final = "scrip_nvml_replay_version"
LIBRARY: Final = "NVML"
"""Stands for the GPU in errors of calls that concern none."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A simulated GPU: the trace to play, and a file holding the time in ms (None: real time since `open`).

    `library` is a replay library built beforehand; None builds or reuses one.
    """

    trace: Path
    clock: Path | None = None
    library: Path | None = None


class Library:
    """NVML, initialised. GPUs and MIG devices are named by UUID, never by index.

    Safe to share between threads: calls are made one at a time, so that a new initialisation never pulls the
    library from under a call of another lease. `simulated` is True exactly when the library loaded is our
    replay library; then nothing read through it may be signed above assurance 0 or leave a local chain.
    """

    def __init__(self, binding: Any) -> None:
        self.binding = binding
        self._lock = threading.RLock()
        self._handles: dict[str, Any] = {}
        self._lost: GpuLost | None = None
        self.generation = 0
        """Counts initialisations: what NVML handed out in an earlier one is void."""
        self.driver: str = binding.nvmlSystemGetDriverVersion()
        # Either mark will do: a rebuilt replay library that lost one of them must not pass for hardware.
        self.simulated: bool = hasattr(binding.nvmlLib, _REPLAY_SYMBOL) or REPLAY_VERSION in self.driver
        self.source = "nvml-replay" if self.simulated else "nvml"

    @classmethod
    def open(cls, replay: Replay | None = None) -> Self:
        """Initialise the driver's library or the replay. Raises NvmlUnavailable, ReplayUnavailable."""
        binding = _official_binding()
        if replay is not None:
            _load_replay(replay)
        try:
            binding.nvmlInit()
            library = cls(binding)
        except binding.NVMLError as problem:
            with suppress(binding.NVMLError):  # it may have started, and failed at the first question
                binding.nvmlShutdown()
            code = int(problem.value)
            reason = NO_NVML.get(code, str(problem))
            raise NvmlUnavailable(f"NVML does not start (code {code}): {reason}") from problem
        if replay is not None and not library.simulated:
            library.close()
            raise NvmlUnavailable(
                "asked for a simulated GPU, but this process has the driver's NVML loaded already"
            )
        return library

    def close(self) -> None:
        """Release NVML. Safe after it was lost."""
        with self._lock:
            self._handles.clear()
            with suppress(self.binding.NVMLError):
                self.binding.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def revive(self) -> None:
        """Initialise NVML anew if a GPU was lost since it last was. Raises GpuLost if that fails.

        To be called before a lease begins: leases that run on healthy GPUs don't notice.
        """
        with self._lock:
            if self._lost is None:
                return
            self.close()
            try:
                self.binding.nvmlInit()
                self.driver = self.binding.nvmlSystemGetDriverVersion()
            except self.binding.NVMLError as problem:
                code = int(problem.value)
                detail = f"NVML does not start again: {NO_NVML.get(code, str(problem))}; before: {self._lost}"
                raise GpuLost("nvmlInitWithFlags", LIBRARY, code, detail) from problem
            self._lost = None
            self.generation += 1

    def call(self, symbol: str, gpu: str, *arguments: object) -> Any:
        """Call a symbol that takes a device first. Raises MetricAbsent, GpuLost, NvmlFailed."""
        with self._lock:
            return self.ask(symbol, gpu, self._handles.get(gpu) or self.handle(gpu), *arguments)

    def ask(self, symbol: str, gpu: str, *arguments: object) -> Any:
        """Call a symbol with just these arguments. Raises MetricAbsent, GpuLost, NvmlFailed about `gpu`."""
        with self._lock:
            try:
                return getattr(self.binding, symbol)(*arguments)
            except self.binding.NVMLError as problem:
                raise self.failed(symbol, gpu, int(problem.value), str(problem)) from problem

    def handle(self, gpu: str) -> Any:
        """The handle of a GPU or MIG device. Raises GpuLost if there is none of that UUID, else as `call`."""
        with self._lock:
            if gpu not in self._handles:
                try:
                    self._handles[gpu] = self.ask("nvmlDeviceGetHandleByUUID", gpu, gpu)
                except NvmlFailed as problem:
                    if problem.code != NOT_FOUND:
                        raise
                    detail = "no GPU or MIG device of this UUID is here"
                    self._lost = GpuLost(problem.symbol, gpu, NOT_FOUND, detail)
                    raise self._lost from problem
            return self._handles[gpu]

    def failed(self, symbol: str, gpu: str, code: int, words: str = "") -> MetricAbsent | NvmlFailed:
        """The error of a return code, remembered if it is a loss."""
        found = failure(symbol, gpu, code, words)
        if isinstance(found, GpuLost):
            self._lost = found
        return found


def _official_binding() -> Any:
    """NVIDIA's binding. Another distribution also installs a module of that name; its figures are not
    NVIDIA's.
    """
    try:
        binding = importlib.import_module("pynvml")
        official = Path(str(metadata.distribution("nvidia-ml-py").locate_file("pynvml.py")))
    except (ImportError, metadata.PackageNotFoundError) as problem:
        raise NvmlUnavailable("nvidia-ml-py is not installed: pip install nvidia-ml-py") from problem
    loaded = Path(str(binding.__file__))
    if not official.exists() or not loaded.samefile(official):
        raise NvmlUnavailable(f"pynvml comes from {loaded}, not from nvidia-ml-py: pip uninstall pynvml")
    return binding


def _load_replay(replay: Replay) -> None:
    """Load our library before nvidia-ml-py looks for its own: the same SONAME is then already there."""
    library = ctypes.CDLL(str(replay.library or build()), mode=ctypes.RTLD_GLOBAL)
    configure = library.scrip_nvml_replay_configure
    configure.argtypes, configure.restype = (ctypes.c_char_p, ctypes.c_char_p), ctypes.c_int
    clock = b"" if replay.clock is None else str(replay.clock.resolve()).encode()
    if configure(str(replay.trace.resolve()).encode(), clock) != 0:
        raise NvmlUnavailable("the simulated GPU is in use already: close it before opening another trace")
