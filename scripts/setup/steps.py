"""The steps of `make setup`, in order. Each is skipped when its inputs are as they were (see stamps.py)."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.setup import compiler, packages, progress, stamps, tools

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "setup"
EXPORT = ("scripts/export_abi.py", "scripts/abi_typescript.py")
WEB = ("src", "build.mjs", "index.html", "style.css")


@dataclass(frozen=True, slots=True)
class Task:
    """One step: what it is called, where its stamp lies, the hash of its inputs, and what it does."""

    name: str
    stamp: Path
    inputs: Callable[[], str]
    action: Callable[[progress.Step], None]

    def is_due(self) -> bool:
        """Whether the inputs changed since the step last finished."""
        return not stamps.is_current(self.stamp, self.inputs())


def run() -> int:
    """Bring the clone up to date and return the exit status; a problem is a message, never a traceback."""
    started = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two targets started at once must not write the same folders
        try:
            ran = _run_due_tasks()
        except progress.StepFailed as error:
            print(f"[setup] failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("[setup] interrupted", file=sys.stderr)
            return 130
    if ran:
        progress.say(f"done in {time.monotonic() - started:.0f} s")
    return 0


def _run_due_tasks() -> int:
    ran = 0
    for task in _tasks():
        if not task.is_due():
            continue
        if ran == 0 and (problems := tools.problems()):
            raise progress.StepFailed("; ".join(problems))
        with progress.step(task.name, LOGS, ROOT) as step:
            task.stamp.unlink(missing_ok=True)
            task.action(step)
        stamps.write(task.stamp, task.inputs())
        ran += 1
    return ran


def _tasks() -> tuple[Task, ...]:
    return (
        Task("python packages", ROOT / ".venv" / "scrip-stamp", _python_inputs, packages.install_python),
        Task("node packages", ROOT / "node_modules" / ".scrip-stamp", _node_inputs, packages.install_node),
        Task("foundry links", ROOT / ".venv" / "foundry-stamp", _link_inputs, packages.link_foundry),
        Task("solidity compiler", ROOT / ".solcx" / "stamp", _solc_inputs, compiler.install),
        Task("contracts", ROOT / "build" / "brownie" / "stamp", _contract_inputs, compiler.compile_contracts),
        Task("web page", ROOT / "web" / "dist" / ".stamp", _web_inputs, packages.build_web),
    )


def _python_inputs() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    facts = (
        json.dumps({key: project[key] for key in ("build-system", "project")}, sort_keys=True),
        f"python {sys.version_info[:2]}",
        str(ROOT),  # a virtual environment cannot be moved
    )
    return stamps.digest(ROOT, [ROOT / "constraints.txt"], facts)


def _node_inputs() -> str:
    return stamps.digest(ROOT, [ROOT / name for name in ("package.json", "package-lock.json", ".npmrc")])


def _link_inputs() -> str:
    return stamps.digest(ROOT, [ROOT / "package-lock.json"])


def _solc_inputs() -> str:
    return stamps.digest(ROOT, [ROOT / "scripts" / "solc.cjs"], (compiler.version(ROOT),))


def _web_inputs() -> str:
    sources = [ROOT / "abi" / "src", *(ROOT / "web" / name for name in WEB)]
    return stamps.digest(ROOT, [ROOT / "package-lock.json", *sources])


def _contract_inputs() -> str:
    names = ("contracts", "brownie-config.yaml", "package-lock.json", *EXPORT)
    paths = [ROOT / name for name in names]
    return stamps.digest(ROOT, paths, (compiler.version(ROOT), os.fspath(ROOT)))
