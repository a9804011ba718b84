"""What an engine starts on a node: runs one order there and reports. The daemon's far half.

A cluster only queues and places. On the node the job is run by the same `LocalExecutor` as everywhere, so its
confinement, limits and accounting are the same, and metered by the same meters. Its one argument is the
folder with the order (`oracle.executors.order`); its exit status is the job's, for the engine to know it too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from oracle.executors import order as files
from oracle.executors.base import ExecutorError, Exit, Running
from oracle.executors.local import LocalExecutor
from oracle.executors.order import Begun, Done, Failed, Latest, Order, Remark, Row
from oracle.host import platform_label
from oracle.telemetry.base import Lease, Meter, Reading, TelemetryError
from oracle.telemetry.cpu import CpuMeter
from oracle.telemetry.nvml import Nvml, NvmlMeter, Replay
from oracle.telemetry.rapl import RaplMeter
from scrip.errors import ScripError
from scrip.evidence import MAX_OUTPUT_BYTES

NOT_STARTED: Final = 70
"""Exit status when the node couldn't do what it was told (EX_SOFTWARE of sysexits.h)."""
_LOOK_S: Final = 0.2


def main(folder: Path, environment: Mapping[str, str]) -> int:
    """Runs the order in `folder`. Returns the status to exit with."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # the engine ends the job, or its time is up
    try:
        order = files.read(folder, files.ORDER, Order)
        if order is None:
            raise ExecutorError(f"{folder}: no order. Is it on a file system that the node shares?")
        with ExitStack() as opened:
            nvml = opened.enter_context(_open_nvml(order)) if order.gpu_count else None
            gpus = () if nvml is None else given_gpus(environment, order.gpu_count, nvml)
            executor = LocalExecutor(packages=[Path(path) for path in order.packages])
            running = executor.start(order.work(gpus, _content(folder, order)))
            return _follow(folder, order, running, _Meters(order, running, nvml), executor.confinement, stop)
    except (ScripError, OSError) as problem:
        with suppress(OSError):  # the folder went with the wish for the job
            files.write(folder, files.FAILED, Failed(problem=str(problem)))
        print(problem, file=sys.stderr)
        return NOT_STARTED


def given_gpus(environment: Mapping[str, str], count: int, nvml: Nvml) -> tuple[str, ...]:
    """UUIDs of the GPUs that the engine gave. The job is shown exactly those, by UUID, so what is metered is
    what it can use.

    An engine names boards by number in CUDA_VISIBLE_DEVICES, counted in NVML's order (by PCI address), MIG
    devices by UUID. Raises ExecutorError, GpuLost, NvmlFailed.
    """
    here = [gpu.uuid for gpu in nvml.gpus()]
    named = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    found = []
    for name in named:
        uuid = nvml.board_at(int(name)).uuid if name.isdecimal() else name
        if uuid not in here:
            raise ExecutorError(f"the engine gave GPU {name}, NVML sees {', '.join(here) or 'none'}")
        found.append(uuid)
    if len(set(found)) != count:
        raise ExecutorError(f"the engine gave {len(set(found))} GPU(s), the job was to get {count}")
    return tuple(found)


def _open_nvml(order: Order) -> Nvml:
    nvml = Nvml.open(Replay(Path(order.trace)) if order.trace else None)
    if nvml.simulated and not order.trace:
        nvml.close()
        raise ExecutorError("the node's NVML is the replay library, and simulated_gpu isn't set")
    return nvml


def _content(folder: Path, order: Order) -> bytes | None:
    if not order.content:
        return None
    found = files.read_owned(folder / files.CONTENT, os.geteuid(), MAX_OUTPUT_BYTES)
    if found is None:
        raise ExecutorError(f"{folder}: the order speaks of content, and there is none")
    return found


class _Meters:
    """The meters of the lease. One that fails is remembered: its readings end, the job goes on."""

    def __init__(self, order: Order, running: Running, nvml: Nvml | None) -> None:
        self._meters: list[Meter] = [CpuMeter(), RaplMeter()]
        if nvml is not None:
            self._meters.append(NvmlMeter(nvml))
        workdir = Path(order.workdir)
        self._lease = Lease(
            bytes.fromhex(order.job_id), running.pid, running.pgid, None, running.gpus, workdir
        )
        self.problem = ""

    def start(self) -> tuple[Row, ...]:
        return self._rows(lambda meter: meter.start(self._lease))

    def tick(self) -> tuple[Row, ...]:
        return self._rows(lambda meter: meter.tick())

    def end(self, ended: Exit) -> tuple[Row, ...]:
        return self._rows(lambda meter: meter.end(ended))

    def notes(self) -> tuple[Remark, ...]:
        notes = [note for meter in self._meters for note in meter.notes()]
        return tuple(
            Remark(source=note.source, device=note.device, metric=note.metric, reason=note.reason)
            for note in notes
        )

    def _rows(self, read: Callable[[Meter], Iterable[Reading]]) -> tuple[Row, ...]:
        rows: list[Row] = []
        for meter in self._meters:
            try:
                rows += [_row(reading) for reading in read(meter)]
            except TelemetryError as problem:
                self.problem = self.problem or str(problem)
        return tuple(rows)


def _follow(
    folder: Path, order: Order, running: Running, meters: _Meters, confinement: str, stop: list[int]
) -> int:
    try:
        begun = {"gpus": running.gpus, "confinement": confinement, "readings": meters.start()}
        files.write(folder, files.BEGUN, Begun.model_validate({**begun, "platform": platform_label()}))
        ended = _wait(folder, running, meters, order.tick_ms / 1000, stop)
    except BaseException:
        running.kill()
        raise
    done = Done(
        code=ended.code, signal=ended.signal, reason=ended.reason, duration_ns=ended.duration_ns,
        rusage=ended.rusage, log=ended.log, readings=meters.end(ended), problem=meters.problem,
        notes=meters.notes(),
    )  # fmt: skip
    files.write(folder, files.DONE, done)
    return done.status


def _wait(folder: Path, running: Running, meters: _Meters, tick_s: float, stop: list[int]) -> Exit:
    due = time.monotonic() + tick_s
    while True:
        try:
            return running.wait(timeout=_LOOK_S)
        except TimeoutError:
            if stop:
                running.kill()
            if time.monotonic() >= due and not meters.problem:
                files.write(folder, files.LATEST, Latest(readings=meters.tick()))
                due = time.monotonic() + tick_s


def _row(reading: Reading) -> Row:
    return Row.model_validate(
        {"source": reading.source, "device": reading.device, "metric": reading.metric, "value": reading.value}
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), os.environ))
