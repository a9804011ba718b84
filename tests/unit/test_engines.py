"""One line of the catalogue chooses the engine; nobody but the factory asks which one it is."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.catalogue import DEFAULT_FILE, Catalogue
from oracle.executors.base import LOCAL, ExecutorError, Left, NotPlaced, Work
from oracle.executors.engines import cluster_gpus, open_engines, require_engines
from oracle.settings import Settings, SettingsProblem
from oracle.states import State
from oracle.telemetry.base import Lease, TelemetryError
from oracle.telemetry.remote import RemoteMeter
from scrip.errors import BadInput
from tests.unit.oracle_factory import SPEC, Lab, terms

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
role = "provider"
state_dir = "state"
[chain]
rpc_url = "http://127.0.0.1:8545"
chain_id = 31337
[provider]
address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
"""


def load(tmp_path: Path, text: str = "", env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "oracle.toml"
    path.write_text(HEAD + text)
    return Settings.load(path, env or {})


def problem(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsProblem) as caught:
        load(tmp_path, text)
    return "\n".join(caught.value.problems)


# ---- settings


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[slurm]\npartition = "--uid=0"', "slurm.partition"),
        ('[slurm]\naccount = "a b"', "slurm.account"),
        ('[slurm]\ngres = "craynetwork"', "slurm.gres"),
        ("[slurm]\nspool_uid = -1", "slurm.spool_uid"),
        ("[slurm]\ngpus = 65", "slurm.gpus"),
        ('[slurm]\ncommand = "x"', "slurm.command: unknown"),
        ("[ray]", "ray.url: missing"),
        ('[ray]\nurl = "10.0.0.1:8265"', "ray.url: must be an http"),
        ('[ray]\nurl = "http://h"\ntoken = "x"', "ray.token: unknown"),
    ],
)
def test_settings__wrong__named(tmp_path: Path, text: str, named: str) -> None:
    assert named in problem(tmp_path, text)


def test_settings__sections__paths_relative_to_the_file(tmp_path: Path) -> None:
    found = load(
        tmp_path, '[slurm]\nspool = "edges"\ngpus = 4\n[ray]\nurl = "http://h:8265/"\ntoken_file = "t"\n'
    )
    assert found.slurm is not None
    assert found.ray is not None
    assert found.slurm.spool == tmp_path / "edges"
    assert (found.ray.url, found.ray.token_file) == ("http://h:8265", tmp_path / "t")
    assert cluster_gpus(found) == {"slurm": 4, "ray": 0}
    assert set(open_engines(found).executors) == {LOCAL, "slurm", "ray"}


def test_settings__variable__sets_up_an_engine(tmp_path: Path) -> None:
    found = load(tmp_path, env={"SCRIP_SLURM_PARTITION": "gpu"})
    assert found.slurm is not None
    assert found.slurm.partition == "gpu"


def test_settings__none__local_only(tmp_path: Path) -> None:
    assert set(open_engines(load(tmp_path)).executors) == {LOCAL}


# ---- catalogue


def catalogue(tmp_path: Path, line: str) -> Catalogue:
    path = tmp_path / "catalogue.toml"
    text = DEFAULT_FILE.read_text().replace("deterministic = true", f"deterministic = true\n{line}", 1)
    path.write_text(text)
    return Catalogue.load(path)


def test_catalogue__shipped__everything_local() -> None:
    assert {template.engine for template in Catalogue.load()} == {LOCAL}


def test_catalogue__one_line__one_template_elsewhere(tmp_path: Path) -> None:
    found = {template.name: template.engine for template in catalogue(tmp_path, 'engine = "slurm"')}
    assert {name for name, engine in found.items() if engine != LOCAL} == {"llm.generate"}
    assert found["llm.generate"] == "slurm"


def test_catalogue__unknown_engine__refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="engine"):
        catalogue(tmp_path, 'engine = "ssh"')


@pytest.mark.parametrize(("wanted", "missing"), [({"slurm"}, "slurm"), ({"slurm", "ray", LOCAL}, "ray")])
def test_require__engine_not_set_up__named(tmp_path: Path, wanted: set[str], missing: str) -> None:
    with pytest.raises(SettingsProblem, match=f"{missing}: missing, a template of the catalogue"):
        require_engines(load(tmp_path), wanted)


def test_require__set_up__fine(tmp_path: Path) -> None:
    require_engines(load(tmp_path, "[slurm]"), {"slurm", LOCAL})


# ---- alike


def names_an_engine(path: Path) -> bool:
    """Whether a module's code, docstrings apart, has a literal that names an engine beyond this machine."""
    tree = ast.parse(path.read_text())
    literals: list[Any] = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return bool({"slurm", "ray"} & {item for item in literals if isinstance(item, str)})


def test_engines__named_by_nobody_but_the_factory_and_themselves() -> None:
    places = set((ROOT / "oracle").rglob("*.py")) - set((ROOT / "oracle" / "admission").glob("*.py"))
    found = {str(path.relative_to(ROOT)) for path in places if names_an_engine(path)}
    assert found == {
        "oracle/executors/base.py", "oracle/executors/engines.py", "oracle/executors/ray.py",
        "oracle/executors/slurm.py",
    }  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    yield made
    made.close()


def test_recover__engine_that_does_not_answer__holds_up_no_other_job(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start(held=True)
    stuck_terms = terms(lab.market)
    stuck = lab.market.open(stuck_terms, node.desk.quote(stuck_terms, SPEC).signature)
    node.until(lambda: node.executor.started)
    lab.crash(node)
    again = lab.start()
    silent = True

    def end_stale(left: Left) -> int:
        if silent and left.job_id == stuck:
            raise ExecutorError("slurmctld doesn't answer")
        return 1

    monkeypatch.setattr(again.executor, "end_stale", end_stale)
    asked = terms(lab.market, salt=77)
    other = lab.market.open(asked, again.desk.quote(asked, SPEC).signature)
    again.until_at(other, State.SETTLED)
    assert again.at(stuck) is State.EXECUTING
    silent = False
    again.until_at(stuck, State.SETTLED)
    assert len(lab.market.settled[stuck]) == 1


def test_start__queue_without_room__job_waits_and_is_tried_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start()
    start, refused = node.executor.start, []

    def full(work: Work, given_up: Callable[[], bool]) -> Any:
        if not refused:
            refused.append(given_up())
            raise NotPlaced("slurm", 3)
        return start(work, given_up)

    monkeypatch.setattr(node.executor, "start", full)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SETTLED)
    assert refused == [False]
    assert node.store.job(job).attempt == 1, "a job that never began was no attempt"
    assert any("slurm didn't start the job" in step.reason for step in node.store.steps(job))


def test_remote_meter__lease_on_this_machine__refused(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="on this machine"):
        RemoteMeter().start(Lease(b"\x01" * 32, 1, 1, None, (), tmp_path))
