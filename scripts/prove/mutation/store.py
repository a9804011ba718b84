"""Results of mutants, kept while they hold, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.prove.sources import Sources, below, digest

KILLED, SURVIVED, INVALID, SAME = "killed", "survived", "invalid", "same"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant: which test of which suite killed it, or why it doesn't count."""

    outcome: str
    killer: str = ""
    suite: str = ""
    seconds: float = 0.0


class Store:
    """A file of results.

    A kill holds while the contracts and the suite that killed stay as they are; all else while all tests do.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._sources = Sources(root)
        self._kept: dict[str, dict[str, str | float]] = json.loads(path.read_text()) if path.is_file() else {}
        self._contracts = digest(
            below(root, "contracts") | {"foundry.toml": (root / "foundry.toml").read_text()}
        )
        self._keys = {"": digest(below(root, "tests/solidity"))}

    @property
    def state(self) -> str:
        """Of contracts and tests together."""
        return f"{self._contracts} {self._keys['']}"

    @property
    def checked(self) -> bool:
        """Whether the tests of this state passed without mutants."""
        return self.get("checked") is not None

    def set_checked(self) -> None:
        """They did."""
        self.put("checked", Result(SURVIVED))

    def hint(self, name: str) -> str:
        """The suite that killed a mutant last time, whatever has changed since."""
        suite = str(self._kept.get(name, {}).get("suite", ""))
        return suite if suite and (self._root / suite).is_file() else ""

    def get(self, name: str) -> Result | None:
        """The result of a mutant, if it still holds."""
        kept = self._kept.get(name)
        if kept is None or kept["key"] != self._key(str(kept["suite"])):
            return None
        return Result(str(kept["outcome"]), str(kept["killer"]), str(kept["suite"]), float(kept["seconds"]))

    def put(self, name: str, result: Result) -> None:
        """Keep a result."""
        self._kept[name] = {**asdict(result), "key": self._key(result.suite)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._kept))

    def _key(self, suite: str) -> str:
        if suite not in self._keys:
            exists = (self._root / suite).is_file()
            self._keys[suite] = digest(self._sources.closure(suite)) if exists else "gone"
        return f"{self._contracts} {self._keys[suite]}"
