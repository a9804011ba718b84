"""GPU readings through NVML, by way of NVIDIA's own binding (PyPI nvidia-ml-py).

What a receipt rests on is lease time, which the recorder measures, and the energy counter, read at each edge
and tick. The counter is the whole board's, in mJ since the driver was loaded; it advances about every 100 ms.
Power, utilisation and process presence are side information: utilisation says "at least one kernel ran",
never how much work was done.

Each NVML error has one of three outcomes: the metric is left out with the reason (the board or driver doesn't
offer it), the GPU is lost (`GpuLost`), or the call failed (`NvmlFailed`). None of them becomes a number.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

from oracle.telemetry.base import Finished, Lease, Note, Reading, TelemetryError
from oracle.telemetry.cpu import belongs
from oracle.telemetry.replay.build import build

REPLAY_VERSION: Final = "0.0-scrip-replay"
_REPLAY_SYMBOL: Final = "scrip_nvml_replay_version"
_SIZE_RETRIES: Final = 3

# NVML return codes (nvml.h, nvmlReturn_t).
_SUCCESS, _NOT_FOUND, _INSUFFICIENT_SIZE = 0, 6, 7
_ABSENT: Final = {
    3: "the GPU doesn't support it",
    4: "no permission: run as root or relax the driver's setting",
    13: "the driver is too old for it",
}
_LOST: Final = {
    1: "NVML was shut down",
    9: "the driver is not loaded",
    15: "the GPU fell off the bus",
    16: "the GPU needs a reset",
    18: "driver and library versions differ: reboot or reload the driver",
    999: "unknown driver error, as when a container loses its GPUs",
}
_NO_NVML: Final = _LOST | {
    4: "no permission to talk to the driver",
    12: "libnvidia-ml.so.1 not found: no NVIDIA driver here",
}


class NvmlUnavailable(TelemetryError):
    """NVML can't be used on this machine, or not as asked."""


class NvmlFailed(TelemetryError):
    """An NVML call failed in a way that says nothing about the GPU's health."""

    def __init__(self, symbol: str, gpu: str, code: int, detail: str) -> None:
        self.symbol, self.gpu, self.code = symbol, gpu, code
        super().__init__(f"{symbol} on {gpu} failed with NVML code {code} ({detail})")


class GpuLost(NvmlFailed):
    """A GPU, or NVML as a whole, went away. What the job used since the last reading is unknown."""


class MetricAbsent(TelemetryError):
    """The board or driver doesn't offer a metric: leave it out and say why."""

    def __init__(self, symbol: str, gpu: str, reason: str) -> None:
        self.symbol, self.gpu, self.reason = symbol, gpu, reason
        super().__init__(f"{symbol} on {gpu}: {reason}")


@dataclass(frozen=True, slots=True)
class Replay:
    """A simulated GPU: the trace to play, and a file holding the time in ms (None: real time since `open`).

    `library` is a replay library built beforehand; None builds or reuses one.
    """

    trace: Path
    clock: Path | None = None
    library: Path | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a GPU says it is. Self-reported: a claim, not evidence."""

    uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class ProcessUtil:
    """One of the driver's per-process samples: SM use in percent at unix microseconds (the trace's, if
    replayed).
    """

    pid: int
    at_us: int
    sm_pct: int


class Nvml:
    """NVML, initialised once per process and shared by all leases. GPUs are named by UUID, never by index.

    `simulated` is True exactly when the library loaded is our replay library; then nothing read through it
    may be signed above assurance 0 or leave a local chain.
    """

    def __init__(self, binding: Any) -> None:
        self._nvml = binding
        self._handles: dict[str, Any] = {}
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
        except binding.NVMLError as problem:
            reason = _NO_NVML.get(problem.value, str(problem))
            raise NvmlUnavailable(f"NVML does not start (code {problem.value}): {reason}") from problem
        nvml = cls(binding)
        if replay is not None and not nvml.simulated:
            nvml.close()
            raise NvmlUnavailable(
                "asked for a simulated GPU, but this process has the driver's NVML loaded already"
            )
        return nvml

    @property
    def binding(self) -> Any:
        """NVIDIA's module, for symbols that concern no device."""
        return self._nvml

    def guarded(self, symbol: str, gpu: str) -> AbstractContextManager[None]:
        """Translates what the binding raises."""
        return self._translated(symbol, gpu)

    def call(self, symbol: str, gpu: str, *arguments: object) -> Any:
        """Call a symbol that takes a device first. Raises MetricAbsent, GpuLost, NvmlFailed."""
        return self._call(symbol, gpu, *arguments)

    def close(self) -> None:
        """Release NVML."""
        self._handles.clear()
        self._nvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs here. Raises GpuLost, NvmlFailed."""
        with self._translated("nvmlDeviceGetCount", "NVML"):
            handles = [
                self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())
            ]
        found = []
        for handle in handles:
            with self._translated("nvmlDeviceGetUUID", "NVML"):
                uuid = self._nvml.nvmlDeviceGetUUID(handle)
                found.append(Gpu(uuid, self._nvml.nvmlDeviceGetName(handle)))
                self._handles[uuid] = handle
        return tuple(found)

    def energy_mj(self, gpu: str) -> int:
        """The energy counter, mJ since the driver was loaded. Raises MetricAbsent, GpuLost, NvmlFailed."""
        return int(self._call("nvmlDeviceGetTotalEnergyConsumption", gpu))

    def power_mw(self, gpu: str) -> int:
        """Power draw, mW; a one-second average on most boards since Ampere. Raises as `energy_mj`."""
        return int(self._call("nvmlDeviceGetPowerUsage", gpu))

    def util_pct(self, gpu: str) -> int:
        """Share of the last sampling period in which any kernel ran, 0..100. Raises as `energy_mj`."""
        return min(int(self._call("nvmlDeviceGetUtilizationRates", gpu).gpu), 100)

    def is_split(self, gpu: str) -> bool:
        """Whether MIG divides the board: then board-level figures belong to no single lease. Raises as
        `energy_mj`.
        """
        if gpu.startswith("MIG-"):
            return True
        try:
            current, _pending = self._call("nvmlDeviceGetMigMode", gpu)
        except MetricAbsent:
            return False  # boards without MIG say NotSupported
        return bool(current)

    def compute_pids(self, gpu: str) -> frozenset[int]:
        """Pids with a compute context on the GPU. Raises as `energy_mj`."""
        # By its versioned name: for a missing unversioned one nvidia-ml-py raises what is no NVMLError.
        rows = self._call("nvmlDeviceGetComputeRunningProcesses_v3", gpu)
        return frozenset(int(row.pid) for row in rows)

    def process_utils(self, gpu: str, since_us: int) -> tuple[ProcessUtil, ...]:
        """Per-process samples newer than `since_us`, clamped to 100 %. Raises as `energy_mj`.

        None is the usual answer of an idle GPU, which NVML gives as NotFound, or nvidia-ml-py (13.615) as an
        error that says "success". Processes that start between its two calls make it fail on the size: ask
        again.
        """
        for _attempt in range(_SIZE_RETRIES):
            try:
                rows = self._call("nvmlDeviceGetProcessUtilization", gpu, since_us)
            except NvmlFailed as problem:
                if problem.code in (_NOT_FOUND, _SUCCESS):
                    return ()
                if problem.code != _INSUFFICIENT_SIZE:
                    raise
            else:
                fresh = [row for row in rows if int(row.timeStamp) > since_us]  # drivers repeat stale ones
                return tuple(
                    ProcessUtil(int(r.pid), int(r.timeStamp), min(int(r.smUtil), 100)) for r in fresh
                )
        return ()

    def _call(self, symbol: str, gpu: str, *arguments: object) -> Any:
        with self._translated(symbol, gpu):
            return getattr(self._nvml, symbol)(self._handle(gpu), *arguments)

    def _handle(self, gpu: str) -> Any:
        if gpu not in self._handles:
            with self._translated("nvmlDeviceGetHandleByUUID", gpu):
                self._handles[gpu] = self._nvml.nvmlDeviceGetHandleByUUID(gpu)
        return self._handles[gpu]

    @contextmanager
    def _translated(self, symbol: str, gpu: str) -> Iterator[None]:
        try:
            yield
        except self._nvml.NVMLError as problem:
            code = int(problem.value)
            if code in _ABSENT:
                raise MetricAbsent(symbol, gpu, _ABSENT[code]) from problem
            if code in _LOST:
                raise GpuLost(symbol, gpu, code, _LOST[code]) from problem
            raise NvmlFailed(
                symbol, gpu, code, "success, wrongly raised" if code == 0 else str(problem)
            ) from problem


class NvmlMeter:
    """`energy_mj`, `power_mw`, `util_pct` and `process_present` of each GPU of a lease.

    `energy_mj` is the raw counter, so that the evidence shows a reset; `process_present` is how many of the
    job's processes NVML sees on the GPU, and isn't read at the end edge, when they are gone. On a board
    divided by MIG nothing is read: the counter is the whole board's, and every slice would repeat it.
    """

    name = "nvml"

    def __init__(self, nvml: Nvml, owns: Callable[[int], bool] | None = None) -> None:
        """`owns` tells whether a pid is the job's; by default, whether it is in the lease's tree."""
        self._nvml, self._owns = nvml, owns
        self._gpus: tuple[str, ...] = ()
        self._absent: dict[tuple[str, str], Note] = {}
        self._odd: list[Note] = []
        self._energy: dict[str, int] = {}

    @property
    def simulated(self) -> bool:
        """True when NVML is the replay library."""
        return self._nvml.simulated

    def start(self, lease: Lease) -> list[Reading]:
        """Raises GpuLost, NvmlFailed (among others, when a leased GPU isn't here)."""
        self._gpus = lease.gpus
        if self._owns is None:
            self._owns = lambda pid: belongs(pid, lease.pgid)
        for gpu in self._gpus:
            if self._nvml.is_split(gpu):
                for metric in ("energy_mj", "power_mw", "util_pct", "process_present"):
                    self._leave_out(gpu, metric, "MIG: NVML only knows the whole board")
        return self.tick()

    def tick(self) -> list[Reading]:
        """Raises GpuLost, NvmlFailed."""
        return self._read(with_processes=True)

    def end(self, finished: Finished) -> list[Reading]:
        """Raises GpuLost, NvmlFailed."""
        del finished
        return self._read(with_processes=False)

    def notes(self) -> tuple[Note, ...]:
        """Metrics left out, and energy counters that went down."""
        return (*self._absent.values(), *self._odd)

    def _read(self, *, with_processes: bool) -> list[Reading]:
        readings: list[Reading] = []
        for gpu in self._gpus:  # all counters first: they are what an edge is about
            self._add(readings, gpu, "energy_mj", self._nvml.energy_mj)
        for gpu in self._gpus:
            self._add(readings, gpu, "power_mw", self._nvml.power_mw)
            self._add(readings, gpu, "util_pct", self._nvml.util_pct)
            if with_processes:
                self._add(readings, gpu, "process_present", self._present)
        self._watch_for_resets(readings)
        return readings

    def _add(self, readings: list[Reading], gpu: str, metric: str, read: Callable[[str], int]) -> None:
        if (gpu, metric) in self._absent:
            return
        try:
            readings.append(Reading(self._nvml.source, gpu, metric, read(gpu)))
        except MetricAbsent as problem:
            self._leave_out(gpu, metric, problem.reason)

    def _present(self, gpu: str) -> int:
        owns = self._owns
        return 0 if owns is None else sum(owns(pid) for pid in self._nvml.compute_pids(gpu))

    def _leave_out(self, gpu: str, metric: str, reason: str) -> None:
        self._absent[gpu, metric] = Note(self._nvml.source, gpu, metric, reason)

    def _watch_for_resets(self, readings: list[Reading]) -> None:
        for reading in readings:
            if reading.metric != "energy_mj":
                continue
            before = self._energy.get(reading.device, 0)
            if reading.value < before:
                reason = f"counter fell from {before} to {reading.value}: the driver was reloaded"
                self._odd.append(Note(reading.source, reading.device, "energy_mj", reason))
            self._energy[reading.device] = reading.value


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
