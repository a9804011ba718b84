"""Compiles a mutant: only the contracts that hold the changed source, the fastest way there is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.prove.sources import REMAPPINGS

SERVER = Path(__file__).with_name("solc_server.cjs")
# Fastest first. A contract that is too deep for the stack without the intermediate language takes the last.
MODES: dict[str, tuple[bool, bool]] = {"plain": (False, False), "ir": (True, True)}


class CompileFailed(Exception):
    """The compiler refused the source; the text is its first error."""


@dataclass(frozen=True, slots=True)
class Code:
    """What a contract compiles to, as hexadecimal digits."""

    creation: str
    runtime: str


class Compiler:
    """A warm compiler process. Not for several threads at once."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(SERVER)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Compiler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def tree(self, file: str, sources: Mapping[str, str]) -> dict[str, Any]:
        """Syntax tree of a file."""
        answer = self._ask(_request(sources, {file: {"": ["ast"]}}, "plain"))
        tree: dict[str, Any] = answer["sources"][file]["ast"]
        return tree

    def code(self, contracts: Mapping[str, str], sources: Mapping[str, str], mode: str) -> dict[str, Code]:
        """Code of each contract (name -> file). Raises CompileFailed."""
        outputs = ["evm.bytecode.object", "evm.deployedBytecode.object"]
        wanted = {file: {name: outputs} for name, file in contracts.items()}
        answer = self._ask(_request(sources, wanted, mode))
        return {name: _code(answer["contracts"][file][name]["evm"]) for name, file in contracts.items()}

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the compiler process has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the compiler process ended")
        answer: dict[str, Any] = json.loads(line)
        for problem in answer.get("errors", ()):
            if problem["severity"] == "error":
                raise CompileFailed(problem["message"])
        return answer


def _code(evm: Mapping[str, Any]) -> Code:
    return Code(evm["bytecode"]["object"], evm["deployedBytecode"]["object"])


def _request(sources: Mapping[str, str], outputs: Mapping[str, Any], mode: str) -> dict[str, Any]:
    optimized, via_ir = MODES[mode]
    return {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": {
            "evmVersion": "prague",
            "viaIR": via_ir,
            "optimizer": {"enabled": optimized, "runs": 1},
            "remappings": [f"{short}={path}" for short, path in REMAPPINGS.items()],
            # Without a hash of the source, a change that changes nothing leaves the code as it was.
            "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
            "outputSelection": dict(outputs),
        },
    }
