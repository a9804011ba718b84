"""Copies of the project in which mutants are tested.

The tests deploy what lies in forge's output folder. So a mutant needs no build by forge: its code is written
over
that of the original, and forge, whose sources haven't changed, runs the tests that it has compiled once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.prove.mutation.compiler import Code

COPIED = ("contracts", "tests/solidity", "foundry.toml")
LINKED = ("node_modules", ".solcx")
# Short campaigns: whatever needs a long one to be noticed, is not worth one for each mutant.
SETTINGS = {"FOUNDRY_PROFILE": "default", "FOUNDRY_INVARIANT_RUNS": "2", "FOUNDRY_INVARIANT_DEPTH": "50"}
FAILED_TEST = re.compile(r"^\[FAIL.*?\]\s+(\w+)\(", re.MULTILINE)
SUITE = re.compile(r"^Ran \d+ tests? for (\S+?):\w+$", re.MULTILINE)
PASSED = re.compile(r"(\d+) tests passed, (\d+) failed")


class TestsBroken(Exception):
    """Forge ran no test, for a reason of its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said: `killer` is the first test that failed, or "timeout"; empty if none did."""

    killer: str
    suite: str = ""


class Workspace:
    """One copy, for one mutant at a time."""

    def __init__(self, folder: Path, forge: Path) -> None:
        self.folder = folder
        self._forge = forge

    def build(self, root: Path, key: str, contracts: Mapping[str, str]) -> None:
        """Copy and compile the project, unless that was done for this key; keep the contracts' code."""
        stamp = self.folder / "stamp"
        if stamp.is_file() and stamp.read_text() == key:
            return self.restore(contracts, contracts)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name in COPIED:
            source = root / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, self.folder / name)
        for name in LINKED:
            (self.folder / name).symlink_to((root / name).resolve())
        built = root / "build" / "forge"
        if built.is_dir():  # forge takes from there what is up to date
            shutil.copytree(built, self.folder / "build" / "forge")
        result = self._run(["build"], {}, 1800)
        if result is None or result[0] != 0:
            raise TestsBroken(f"the copy in {self.folder} does not compile:\n{result and result[1][-2000:]}")
        (self.folder / "original").mkdir()
        for name, file in contracts.items():
            shutil.copy2(self._artefact(name, file), self._original(name))
        stamp.write_text(key)
        return None

    def install(self, files: Mapping[str, str], codes: Mapping[str, Code]) -> None:
        """Put the code of contracts (name -> file, name -> code) in place of what is there."""
        for name, code in codes.items():
            artefact = json.loads(self._original(name).read_text())
            artefact["bytecode"]["object"] = "0x" + code.creation
            artefact["deployedBytecode"]["object"] = "0x" + code.runtime
            self._artefact(name, files[name]).write_text(json.dumps(artefact))

    def restore(self, files: Mapping[str, str], names: Iterable[str]) -> None:
        """Undo `install` for these contracts."""
        for name in names:
            shutil.copy2(self._original(name), self._artefact(name, files[name]))

    def _artefact(self, name: str, file: str) -> Path:
        return self.folder / "build" / "forge" / "out" / Path(file).name / f"{name}.json"

    def _original(self, name: str) -> Path:
        return self.folder / "original" / f"{name}.json"

    def test(self, options: Sequence[str], fuzz_runs: int, timeout: float) -> Verdict:
        """Run tests until one fails. Raises TestsBroken if there was none to run."""
        settings = {"FOUNDRY_FUZZ_RUNS": str(fuzz_runs)}
        result = self._run(["test", "--fail-fast", *options], settings, timeout)
        if result is None:
            return Verdict("timeout")
        status, output = result
        failed = FAILED_TEST.search(output)
        if failed:
            suites = SUITE.findall(output[: failed.start()])
            return Verdict(failed.group(1), suites[-1] if suites else "")
        totals = PASSED.search(output)
        if totals is None or int(totals.group(1)) == 0 or status != 0:
            raise TestsBroken(output[-2000:])
        return Verdict("")

    def _run(
        self, arguments: Sequence[str], settings: Mapping[str, str], timeout: float
    ) -> tuple[int, str] | None:
        """Exit status and output, or None if it took too long."""
        environment = {**os.environ, **SETTINGS, "NO_COLOR": "1", **settings}
        process = subprocess.Popen(
            [str(self._forge), *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output
