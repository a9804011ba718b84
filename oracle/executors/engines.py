"""The engines a node is set up with. Only this module knows which there are; all others see `Executor`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oracle.executors.base import LOCAL, Executor
from oracle.executors.cluster import ClusterExecutor, Queue
from oracle.executors.local import LocalExecutor
from oracle.executors.ray import RayQueue
from oracle.executors.slurm import SlurmQueue
from oracle.settings import Settings, SettingsProblem
from oracle.telemetry.replay.build import STEADY_TRACE


@dataclass(frozen=True, slots=True)
class Engines:
    """Executors by the name that a template's `engine` has."""

    executors: Mapping[str, Executor]

    def of(self, engine: str) -> Executor:
        """The executor of that name. Raises KeyError for one that `require_engines` would have refused."""
        return self.executors[engine]

    @property
    def confinement(self) -> str:
        """What holds jobs in, engine by engine."""
        return ", ".join(sorted({executor.confinement for executor in self.executors.values()}))


def open_engines(settings: Settings) -> Engines:
    """This machine, and every engine that has a section in the settings. Nothing is asked of them yet."""
    return Engines({LOCAL: LocalExecutor(packages=settings.of_provider().packages), **clusters(settings)})


def require_engines(settings: Settings, wanted: Iterable[str]) -> None:
    """Raise SettingsProblem unless all of these are set up."""
    missing = sorted(set(wanted) - {LOCAL, *cluster_gpus(settings)})
    if missing:
        said = "missing, a template of the catalogue runs on it (docs/clusters.md)"
        raise SettingsProblem(tuple(f"{engine}: {said}" for engine in missing))


def clusters(settings: Settings) -> dict[str, ClusterExecutor]:
    """The engines beyond this machine."""
    found: dict[str, ClusterExecutor] = {}
    if settings.slurm is not None:
        found["slurm"] = _cluster(settings, SlurmQueue(settings.slurm), settings.slurm.python)
    if settings.ray is not None:
        found["ray"] = _cluster(settings, RayQueue(settings.ray), settings.ray.python)
    return found


def cluster_gpus(settings: Settings) -> dict[str, int]:
    """GPUs that one job can have on each of them."""
    sections = {"slurm": settings.slurm, "ray": settings.ray}
    return {name: section.gpus for name, section in sections.items() if section is not None}


def _cluster(settings: Settings, queue: Queue, python: Path | None) -> ClusterExecutor:
    provider = settings.of_provider()
    trace = (provider.gpu_trace or STEADY_TRACE) if provider.simulated_gpu else None
    folder = settings.state_dir.resolve() / queue.name
    return ClusterExecutor(queue, folder, python=python, trace=trace, tick_ms=provider.tick_ms)
