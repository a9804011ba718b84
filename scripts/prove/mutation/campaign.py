"""Tries mutants: a sample drawn by hash, so that every run draws the same, and a larger one more."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.prove import shell
from scripts.prove.mutation import survivors, targets
from scripts.prove.mutation.compiler import Code, CompileFailed, Compiler
from scripts.prove.mutation.mutant import Mutant
from scripts.prove.mutation.operators import mutants
from scripts.prove.mutation.store import INVALID, KILLED, SAME, SURVIVED, Result, Store
from scripts.prove.mutation.workspace import Verdict, Workspace
from scripts.prove.result import Row, say
from scripts.prove.scale import Scale
from scripts.prove.sources import Sources

NAME = "mutation"
GOAL = 90.0
LIST = shell.ROOT / "docs" / "mutants.md"
STORE = shell.BUILD / "mutants.json"
FOLDER = shell.BUILD / "mutation"
SEED = "scrip"
# Runs of a fuzzed test: of those of the changed source, then of all others, then of the first ones again.
FEW_RUNS, OTHER_RUNS, MANY_RUNS = 16, 4, 64
SECONDS = 900.0


class Bench:
    """Compiler, workspace and all that is known of the sources."""

    def __init__(self, root: Path, compiler: Compiler, workspace: Workspace) -> None:
        self._compiler = compiler
        self._workspace = workspace
        self._sources = Sources(root)
        self._files = targets.deployed(root)
        self._root = root
        self._modes = {name: self._fastest(name) for name in self._files}
        self._originals: dict[tuple[str, str], Code] = {}

    @property
    def files(self) -> dict[str, str]:
        """The deployed contracts, name -> file."""
        return self._files

    def every(self) -> list[Mutant]:
        """All mutants, in the order in which they are drawn."""
        found: list[Mutant] = []
        for file in targets.sources(self._root):
            tree = self._compiler.tree(file, self._sources.closure(file))
            found += mutants(file, self._sources.text(file).encode(), tree)
        return sorted(found, key=lambda m: hashlib.sha256(f"{SEED} {m.id}".encode()).digest())

    def line(self, mutant: Mutant) -> str:
        """The source line a mutant begins at."""
        return self._sources.text(mutant.file).splitlines()[mutant.line - 1]

    def code(self, mutant: Mutant | None, name: str, mode: str) -> Code:
        """Code of a contract, with the change or without. Raises CompileFailed."""
        file = self._files[name]
        texts = self._sources.closure(file)
        if mutant is not None:
            texts[mutant.file] = mutant.apply(texts[mutant.file].encode()).decode()
            return self._compiler.code({name: file}, texts, mode)[name]
        if (name, mode) not in self._originals:
            self._originals[name, mode] = self._compiler.code({name: file}, texts, mode)[name]
        return self._originals[name, mode]

    def check(self) -> None:
        """Every test passes on code compiled as mutants are; otherwise a failure would say nothing."""
        self._workspace.install(
            self._files, {name: self.code(None, name, self._modes[name]) for name in self._files}
        )
        verdict = self._workspace.test([], FEW_RUNS, SECONDS)
        self._workspace.restore(self._files, self._files)
        if verdict.killer:
            raise shell.ToolFailed(f"{verdict.suite} {verdict.killer} fails without any mutant")

    def attempt(self, mutant: Mutant, hint: str) -> Result:
        """Compile and test one mutant; `hint` is the suite that killed it last time."""
        started = time.monotonic()
        names = self._sources.dependents(mutant.file, self._files)
        try:
            codes = {name: self.code(mutant, name, self._modes[name]) for name in names}
        except CompileFailed:
            return Result(INVALID)
        if all(code == self.code(None, name, self._modes[name]) for name, code in codes.items()):
            return Result(SAME)
        self._workspace.install(self._files, codes)
        verdict = self._test(mutant.file, hint)
        self._workspace.restore(self._files, codes)
        seconds = round(time.monotonic() - started, 1)
        if verdict.killer:
            return Result(KILLED, verdict.killer, verdict.suite, seconds)
        # Survivors are few: now the optimizer may say that there is nothing to notice.
        same = all(self.code(mutant, name, "ir") == self.code(None, name, "ir") for name in names)
        return Result(SAME if same else SURVIVED, seconds=seconds)

    def _test(self, file: str, hint: str) -> Verdict:
        own = targets.own_tests(file)
        stages = [(["--match-path", own], FEW_RUNS), (["--no-match-path", own], OTHER_RUNS)]
        if hint:
            stages.insert(0, (["--match-path", hint], FEW_RUNS))
        if not list(self._root.glob(own)):
            stages = [([], FEW_RUNS)]
        verdict = Verdict("")
        for options, runs in [*stages, (["--match-path", own], MANY_RUNS)]:
            verdict = self._workspace.test(options, runs, SECONDS)
            if verdict.killer:
                return verdict
        return verdict

    def _fastest(self, name: str) -> str:
        try:
            self._compiler.code({name: self._files[name]}, self._sources.closure(self._files[name]), "plain")
        except CompileFailed:
            return "ir"
        return "plain"


def run(scale: Scale, record: bool) -> Row:
    """Try as many mutants as the scale says. With `record`, write the survivors into the list."""
    row = Row(NAME)
    store = Store(STORE, shell.ROOT)
    workspace = Workspace(FOLDER, shell.FORGE)
    with Compiler(shell.ROOT) as compiler:
        bench = Bench(shell.ROOT, compiler, workspace)
        say(NAME, "building a copy of the project")
        workspace.build(shell.ROOT, store.state, bench.files)
        every = bench.every()
        if not store.checked:
            say(NAME, "testing it without mutants")
            bench.check()
            store.set_checked()
        results = dict(_tried(bench, every, scale, store))
        known = survivors.read(LIST.read_text())
        if record:
            _record(bench, results, known)
            known = survivors.read(LIST.read_text())
    _judge(row, results, every, known, scale)
    return row


def _tried(bench: Bench, every: list[Mutant], scale: Scale, store: Store) -> Iterator[tuple[Mutant, Result]]:
    """The mutants that compile to other code, up to the number asked for."""
    wanted = len(every) if scale.mutants is None else scale.mutants
    counted = alive = 0
    for mutant in every:
        if counted == wanted:
            return
        result = store.get(mutant.id)
        if result is None:
            result = bench.attempt(mutant, store.hint(mutant.id))
            store.put(mutant.id, result)
        if result.outcome in (INVALID, SAME):
            continue
        counted += 1
        if result.outcome == SURVIVED:
            alive += 1
            say(NAME, f"survived: {mutant.id} {mutant.file}:{mutant.line} {mutant.operator}: {mutant.change}")
        if counted % 25 == 0:
            say(NAME, f"{counted} of at most {wanted} tried, {alive} survived")
        yield mutant, result


def _record(bench: Bench, results: dict[Mutant, Result], known: dict[str, survivors.Known]) -> None:
    """List the survivors of this run, and those of other runs that this one did not try."""
    tried = {mutant.id: mutant for mutant in results}
    every = {mutant.id: mutant for mutant in bench.every()}
    alive = {mutant.id for mutant, result in results.items() if result.outcome == SURVIVED}
    listed = sorted(
        (every[name] for name in alive | (set(known) - set(tried)) if name in every),
        key=lambda m: (m.file, m.start, m.id),
    )
    rows = [survivors.row(mutant, bench.line(mutant), known.get(mutant.id)) for mutant in listed]
    LIST.write_text(survivors.write(LIST.read_text(), rows))


def _judge(
    row: Row,
    results: dict[Mutant, Result],
    every: list[Mutant],
    known: dict[str, survivors.Known],
    scale: Scale,
) -> None:
    alive = [mutant.id for mutant, result in results.items() if result.outcome == SURVIVED]
    killed = [mutant.id for mutant, result in results.items() if result.outcome == KILLED]
    equivalent = sum(1 for name in alive if name in known and known[name].verdict == survivors.EQUIVALENT)
    real = len(results) - equivalent
    percent = 100 * len(killed) / real if real else 0.0
    seconds = sum(result.seconds for result in results.values()) / max(1, len(results))
    row.figures = (
        f"{percent:.1f} % killed: {len(killed)} of {real} ({equivalent} equivalent ones left out, "
        f"{real - len(killed)} survivors accepted); {len(every)} possible; {seconds:.1f} s each"
    )
    row.problems += survivors.problems(known, (mutant.id for mutant in every), alive, killed)
    if percent < GOAL:
        row.problems.append(f"{percent:.1f} % killed: the goal is {GOAL} %")
    if scale.mutants is not None:
        row.reduced = f"SCALE={scale.name}: a sample of {len(results)} mutants; full is all {len(every)}"
