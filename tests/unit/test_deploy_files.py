"""What operators are given fits the program: every metric named exists, every metric is explained, the unit
is one that systemd takes.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from oracle.metrics import Metrics
from oracle.settings import Settings
from oracle.store import Store
from tests.conftest import needs_program

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "oracle" / "deploy"
PAGE = ROOT / "docs" / "operations.md"
NAME = re.compile(r"\bscrip_[a-z0-9_]+")


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[Metrics]:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield Metrics(store, tmp_path)
    store.close()


def families(metrics: Metrics) -> set[str]:
    """Names of metrics as Prometheus' types know them, counters with their suffix."""
    suffix = {"counter": "_total"}
    return {family.name + suffix.get(family.type, "") for family in metrics.registry.collect()}


def samples(metrics: Metrics) -> set[str]:
    """Names that a query may use."""
    found = families(metrics)
    histograms = {family.name for family in metrics.registry.collect() if family.type == "histogram"}
    return found | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}


def queries(value: Any) -> Iterator[str]:
    """Every expression of a dashboard or of a file of rules."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "query") and isinstance(inner, str):
                yield inner
            else:
                yield from queries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from queries(inner)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_dashboard__every_query__names_metrics_that_exist(metrics: Metrics) -> None:
    board = json.loads((DEPLOY / "dashboard.json").read_text())
    named = [NAME.findall(query) for query in queries(board["panels"])]
    assert len(named) >= 15
    assert all(named), "a panel without one of our metrics"
    assert {name for names in named for name in names} <= samples(metrics)
    assert set(NAME.findall(" ".join(queries(board["templating"])))) <= samples(metrics)


def test_dashboard__panels__have_ids_and_places_of_their_own() -> None:
    panels = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_alerts__every_rule__names_metrics_that_exist_and_is_explained(metrics: Metrics) -> None:
    page = PAGE.read_text()
    for rule in rules():
        named = set(NAME.findall(rule["expr"]))
        assert named <= samples(metrics), rule["alert"]
        assert named or "up{" in rule["expr"], rule["alert"]
        assert f"`{rule['alert']}`" in page, f"{rule['alert']} isn't explained"


def test_page__metrics__are_all_explained_and_no_others(metrics: Metrics) -> None:
    table = PAGE.read_text().split("## Metrics", 1)[1].split("\n## ", 1)[0]
    explained = {name for line in table.splitlines() if line.startswith("| `") for name in NAME.findall(line)}
    assert explained == families(metrics)


def test_page__fault_matrix__names_tests_that_exist() -> None:
    table = PAGE.read_text().split("## Faults", 1)[1].split("\n## ", 1)[0]
    named = re.findall(r"`(test_\w+)(?:\.py)?::(test_\w+)", table)
    assert len(named) >= 25
    for module, test in named:
        found = [path for path in (ROOT / "tests").rglob(f"{module}.py")]
        assert found, module
        assert f"def {test}(" in found[0].read_text(), test


def test_page__example_settings__are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert examples
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        Settings.load(path, {})


def test_unit__systemd__finds_nothing_wrong(tmp_path: Path) -> None:
    program = needs_program("systemd-analyze")
    text = (DEPLOY / "scrip-oracle.service").read_text()
    unit = tmp_path / "scrip-oracle.service"
    unit.write_text(text.replace("/opt/scrip/bin/scrip", "/bin/true"))  # it isn't installed here
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
