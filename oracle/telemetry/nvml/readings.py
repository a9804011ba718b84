"""Every NVML reading the oracle takes, in its own words: integers with units, or the reason why not.

All raise MetricAbsent, GpuLost and NvmlFailed (`errors` says when).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import c_double, c_uint
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from oracle.telemetry.base import TelemetryError
from oracle.telemetry.nvml.errors import (
    BOARD_LOST,
    INSUFFICIENT_SIZE,
    NO_SYMBOL,
    NOT_FOUND,
    SUCCESS,
    GpuLost,
    MetricAbsent,
    NvmlFailed,
)
from oracle.telemetry.nvml.fields import (
    SYMBOL,
    VALUE_OF_TYPE,
    BoardReading,
    Field,
    Fields,
    fields_of,
    view,
)
from oracle.telemetry.nvml.library import LIBRARY, Library

_SIZE_RETRIES: Final = 3
WHOLE_BOARD: Final = 0xFFFFFFFF  # nvml.h: the id of no MIG instance


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a GPU or MIG device says it is. Self-reported: a claim, not evidence. Memory 0: it doesn't say."""

    uuid: str
    name: str
    memory_bytes: int = 0


class Running(NamedTuple):
    """A process with a compute context. `instance` is the MIG instance it is on, None for a whole board."""

    pid: int
    memory_bytes: int
    instance: int | None


class ProcessUtil(NamedTuple):
    """One of the driver's per-process samples: SM and memory use in percent at unix microseconds (the
    trace's, if replayed).
    """

    pid: int
    at_us: int
    sm_pct: int
    mem_pct: int = 0


@dataclass(frozen=True, slots=True)
class Accounted:
    """The driver's record of one process: ms of GPU context (0 until it has ended), peak memory, start."""

    pid: int
    time_ms: int
    peak_bytes: int
    started_us: int
    ended: bool


class GpmRequest(NamedTuple):
    """A request for GPM metrics: NVML's structure, and id, return code and value of each, in place."""

    memory: Any
    rows: tuple[tuple[int, Any, Any], ...]


class Nvml(Library):
    """NVML with the readings."""

    def __init__(self, binding: Any) -> None:
        super().__init__(binding)
        self._fields: dict[str, Fields] = {}
        self._without_fields: set[str] = set()
        self._instances: dict[tuple[str, int], tuple[Any, int]] = {}

    def close(self) -> None:
        """Release NVML. Safe after it was lost."""
        with self._lock:
            self._fields.clear()
            super().close()

    # WHAT IS HERE

    def boards(self) -> tuple[Gpu, ...]:
        """The boards here, in NVML's order. One that is lost isn't here, and hides no other."""
        count = self.ask("nvmlDeviceGetCount", LIBRARY)
        found = []
        for index in range(count):
            try:
                found.append(self.board_at(index))
            except GpuLost as lost:
                if lost.code not in BOARD_LOST:
                    raise
        return tuple(found)

    def gpus(self) -> tuple[Gpu, ...]:
        """What can be leased: the boards here, or, of a board that MIG divides, its MIG devices."""
        found: list[Gpu] = []
        for board in self.boards():
            found += self.slices(board.uuid) if self.is_split(board.uuid) else [board]
        return tuple(found)

    def slices(self, board: str) -> tuple[Gpu, ...]:
        """The MIG devices of a board, none unless MIG divides it."""
        if not self.is_split(board):
            return ()
        found = []
        for slot in range(self.call("nvmlDeviceGetMaxMigDeviceCount", board)):
            try:
                handle = self.call("nvmlDeviceGetMigDeviceHandleByIndex", board, slot)
            except NvmlFailed as problem:
                if problem.code != NOT_FOUND:  # slots need not be filled in order
                    raise
            else:
                found.append(self._identified(handle, f"MIG device {slot} of {board}"))
        return tuple(found)

    def board_at(self, index: int) -> Gpu:
        """The board of that number in NVML's order."""
        where = f"GPU {index}"
        handle = self.ask("nvmlDeviceGetHandleByIndex", where, index)
        return self._identified(handle, where)

    def _identified(self, handle: Any, where: str) -> Gpu:
        uuid = self.ask("nvmlDeviceGetUUID", where, handle)
        name = self.ask("nvmlDeviceGetName", uuid, handle)
        self._handles[uuid] = handle
        try:
            memory = int(self.call("nvmlDeviceGetMemoryInfo", uuid).total)
        except MetricAbsent:
            memory = 0  # a chip that shares its host's memory
        return Gpu(uuid, name, memory)

    def is_split(self, gpu: str) -> bool:
        """Whether MIG divides the board: then board-level figures belong to no single lease."""
        if gpu.startswith("MIG-"):
            return True
        try:
            current, _pending = self.call("nvmlDeviceGetMigMode", gpu)
        except MetricAbsent:
            return False  # boards without MIG say NotSupported
        return bool(current)

    # THE BOARD

    def board(self, gpu: str) -> BoardReading:
        """Energy and power in one call; what that doesn't give, by a call of its own. Raises GpuLost."""
        energy, power = self._in_one_call(gpu)
        if not isinstance(energy, int):
            energy = self._alone(self.energy_mj, gpu, energy)
        if not isinstance(power, int):
            power = self._alone(self.power_mw, gpu, power)
        return BoardReading(energy, power)

    def _in_one_call(self, gpu: str) -> tuple[int | TelemetryError | None, int | TelemetryError | None]:
        """None for both where the driver has no such call, or it fails."""
        if gpu in self._without_fields:
            return None, None
        try:
            with self._lock:
                fields = self._fields.get(gpu) or self._prepare(gpu)
                if code := fields.read():
                    raise self.failed(SYMBOL, gpu, code, str(self.binding.NVMLError(code)))
                for field in fields.powers:
                    if isinstance(power := self._field(gpu, field), int):
                        break
                return self._field(gpu, fields.energy), power
        except GpuLost:
            raise
        except MetricAbsent:
            self._without_fields.add(gpu)
        except NvmlFailed:
            pass
        return None, None

    def _prepare(self, gpu: str) -> Fields:
        handle = self.handle(gpu)
        try:
            self._fields[gpu] = fields_of(self.binding, handle)
        except AttributeError as problem:
            raise self.failed(SYMBOL, gpu, NO_SYMBOL) from problem
        return self._fields[gpu]

    def _field(self, gpu: str, field: Field) -> int | TelemetryError:
        code: int = field.code.value
        member = VALUE_OF_TYPE.get(field.kind.value) if code == SUCCESS else None
        if member is not None:
            value: int = getattr(field.value, member)
            return value
        symbol = f"{SYMBOL}:{field.number}"
        if code == SUCCESS:
            return NvmlFailed(symbol, gpu, code, "no integer")
        problem = self.failed(symbol, gpu, code, "field not read")
        if isinstance(problem, GpuLost):
            raise problem
        return problem

    def _alone(
        self, read: Callable[[str], int], gpu: str, said: TelemetryError | None
    ) -> int | TelemetryError:
        """A metric by its own call. What its field said stands, unless only that there is no such field."""
        try:
            return read(gpu)
        except GpuLost:
            raise
        except (MetricAbsent, NvmlFailed) as problem:
            return said if isinstance(said, NvmlFailed) else problem

    def energy_mj(self, gpu: str) -> int:
        """The energy counter, mJ since the driver was loaded."""
        return int(self.call("nvmlDeviceGetTotalEnergyConsumption", gpu))

    def power_mw(self, gpu: str) -> int:
        """Power draw, mW; a one-second average on most boards since Ampere."""
        return int(self.call("nvmlDeviceGetPowerUsage", gpu))

    def util_pct(self, gpu: str) -> int:
        """Share of the last sampling period in which any kernel ran, 0..100."""
        return min(int(self.call("nvmlDeviceGetUtilizationRates", gpu).gpu), 100)

    def memory_bytes(self, gpu: str) -> int:
        """Memory in use on the GPU or MIG device, bytes."""
        return int(self.call("nvmlDeviceGetMemoryInfo", gpu).used)

    # PROCESSES

    def running(self, gpu: str) -> tuple[Running, ...]:
        """Processes with a compute context on the GPU or MIG device."""
        # By its versioned name: for a missing unversioned one nvidia-ml-py raises what is no NVMLError.
        rows = self._sized("nvmlDeviceGetComputeRunningProcesses_v3", gpu)
        return tuple(
            Running(
                int(row.pid),
                int(row.usedGpuMemory or 0),
                None if int(row.gpuInstanceId) == WHOLE_BOARD else int(row.gpuInstanceId),
            )
            for row in rows
        )

    def compute_pids(self, gpu: str) -> frozenset[int]:
        """Their pids."""
        return frozenset(process.pid for process in self.running(gpu))

    def process_utils(self, gpu: str, since_us: int, until_us: int | None = None) -> tuple[ProcessUtil, ...]:
        """Per-process samples newer than `since_us`. SM use is clamped to 100 %, times to `until_us`.

        None is the usual answer of an idle GPU, which NVML gives as NotFound, or nvidia-ml-py (13.615) as an
        error that says "success". Drivers repeat stale samples, which are dropped, and stamp some with the
        future; unclamped, those would hide all that come after.
        """
        try:
            rows = self._sized("nvmlDeviceGetProcessUtilization", gpu, since_us)
        except NvmlFailed as problem:
            if problem.code in (NOT_FOUND, SUCCESS):
                return ()
            raise
        latest = 2**63 if until_us is None else until_us
        return tuple(
            ProcessUtil(
                int(row.pid),
                min(int(row.timeStamp), latest),
                min(int(row.smUtil), 100),
                min(int(row.memUtil), 100),
            )
            for row in rows
            if int(row.timeStamp) > since_us
        )

    def _sized(self, symbol: str, gpu: str, *arguments: object) -> Any:
        """A list. Processes that start between the binding's two calls make it too small: ask again."""
        for attempts_left in reversed(range(_SIZE_RETRIES)):
            try:
                return self.call(symbol, gpu, *arguments)
            except NvmlFailed as problem:
                if problem.code != INSUFFICIENT_SIZE or not attempts_left:
                    raise
        raise AssertionError("unreachable")

    def accounting_on(self, gpu: str) -> bool:
        """Whether the driver keeps a record of each process. MIG turns that off."""
        return bool(self.call("nvmlDeviceGetAccountingMode", gpu))

    def accounted(self, gpu: str, pid: int) -> Accounted | None:
        """The driver's record of a process, None if it keeps none of that pid."""
        try:
            stats = self.call("nvmlDeviceGetAccountingStats", gpu, pid)
        except NvmlFailed as problem:
            if problem.code == NOT_FOUND:
                return None
            raise
        ended = not stats.isRunning and int(stats.time) > 0
        return Accounted(pid, int(stats.time), int(stats.maxMemoryUsage or 0), int(stats.startTime), ended)

    # GPM

    def has_gpm(self, gpu: str) -> bool:
        """Whether the GPU has activity counters (Hopper and newer)."""
        return bool(self.call("nvmlGpmQueryDeviceSupport", gpu).isSupportedDevice)

    def gpm_buffer(self) -> Any:
        """Room for one sample. To be freed with `free_gpm`."""
        return self.ask("nvmlGpmSampleAlloc", LIBRARY)

    def free_gpm(self, buffer: Any) -> None:
        """Free a buffer."""
        self.ask("nvmlGpmSampleFree", LIBRARY, buffer)

    def gpm_sample(self, gpu: str, buffer: Any) -> None:
        """Read the activity counters of a GPU, or of the instance that a MIG device lies in."""
        if not gpu.startswith("MIG-"):
            self.call("nvmlGpmSampleGet", gpu, buffer)
            return
        board, instance = self._instance(gpu)
        self.ask("nvmlGpmMigSampleGet", gpu, board, instance, buffer)

    def _instance(self, gpu: str) -> tuple[Any, int]:
        """Handle of the board that a MIG device is of, and the id of its GPU instance there."""
        key = (gpu, self.generation)
        if key not in self._instances:
            board = self.call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", gpu)
            self._instances[key] = (board, int(self.call("nvmlDeviceGetGpuInstanceId", gpu)))
        return self._instances[key]

    def gpm_request(self, ids: tuple[int, ...]) -> GpmRequest:
        """A request for these metrics, to be used again and again: it is large."""
        request = self.binding.c_nvmlGpmMetricsGet_t()
        request.version, request.numMetrics = self.binding.NVML_GPM_METRICS_GET_VERSION, len(ids)
        rows = []
        for row, metric in zip(request.metrics, ids, strict=False):
            row.metricId = metric
            rows.append((metric, view(row, "nvmlReturn", c_uint), view(row, "value", c_double)))
        return GpmRequest(request, tuple(rows))

    def gpm_metrics(self, gpu: str, request: GpmRequest, before: Any, after: Any) -> Mapping[int, float]:
        """Activity between two samples by metric id; a metric that the GPU doesn't have is missing."""
        request.memory.sample1, request.memory.sample2 = before, after
        self.ask("nvmlGpmMetricsGet", gpu, request.memory)
        found = {}
        for metric, code, value in request.rows:
            if code.value == SUCCESS:
                found[metric] = value.value
            elif isinstance(lost := self.failed(f"nvmlGpmMetricsGet:{metric}", gpu, code.value), GpuLost):
                raise lost
        return found
