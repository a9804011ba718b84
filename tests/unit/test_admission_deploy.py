"""What operators are given for admission fits the program: manifests, scripts, settings on the page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from oracle.cli import app
from oracle.settings import Settings
from tests.conftest import needs_program

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "oracle" / "deploy"
PAGE = ROOT / "docs" / "admission.md"
DATABASE = {"SCRIP_DATABASE_URL": "postgresql://scrip:secret@db/scrip"}


def manifests() -> list[dict[str, Any]]:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [item for file in files for item in yaml.safe_load_all(file.read_text())]


def named(kind: str, name: str = "") -> dict[str, Any]:
    (found,) = [
        item for item in manifests() if item["kind"] == kind and name in ("", item["metadata"]["name"])
    ]
    return found


def test_webhook__refuses_in_doubt_and_leaves_no_way_around() -> None:
    (hook,) = named("ValidatingWebhookConfiguration")["webhooks"]
    assert (hook["failurePolicy"], hook["sideEffects"]) == ("Fail", "NoneOnDryRun")
    assert hook["namespaceSelector"]["matchLabels"] == {"scrip.dev/admission": "paid"}
    assert "objectSelector" not in hook
    asked = {
        (group, kind) for rule in hook["rules"] for group in rule["apiGroups"] for kind in rule["resources"]
    }
    assert asked == {("", "pods"), ("", "pods/resize"), ("batch", "jobs")}
    assert all(rule["operations"] == ["CREATE", "UPDATE"] for rule in hook["rules"])


def test_manifests__fit_together() -> None:
    (hook,) = named("ValidatingWebhookConfiguration")["webhooks"]
    service, deployment = named("Service"), named("Deployment")
    wanted = hook["clientConfig"]["service"]
    assert (wanted["name"], wanted["namespace"]) == (
        service["metadata"]["name"], service["metadata"]["namespace"],
    )  # fmt: skip
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_manifests__commands_and_settings__are_the_programs(tmp_path: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    (container,) = named("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["args"][1] in commands
    _, compare = named("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"]
    assert re.search(r"scrip oracle (\w+)", compare["command"][-1]).group(1) in commands  # type: ignore[union-attr]
    path = tmp_path / "node.toml"
    path.write_text(named("ConfigMap")["data"]["node.toml"])
    found = Settings.load(path, DATABASE).admission
    assert found is not None
    assert found.kubernetes is not None
    assert found.metrics is not None
    ports = {port["containerPort"] for port in container["ports"]}
    assert ports == {found.kubernetes.port, found.metrics.port}


def test_page__example_settings__are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 2
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        assert Settings.load(path, {}).admission is not None


def script(tmp_path: Path, partition: str, context: str, **more: str) -> int:
    """Exit code of PrologSlurmctld or EpilogSlurmctld where no node answers."""
    needs_program("curl")
    (tmp_path / "scrip_admission.conf").write_text(f"socket={tmp_path}/none.sock\npartitions=gpu,paid\n")
    copy = tmp_path / "scrip_admission.sh"
    copy.write_text((DEPLOY / "slurm" / "scrip_admission.sh").read_text().replace("sleep 2", "sleep 0"))
    given = {"SLURM_JOB_PARTITION": partition, "SLURM_SCRIPT_CONTEXT": context, "SLURM_JOB_ID": "7"} | more
    return subprocess.run(["sh", str(copy)], env={"PATH": "/usr/bin:/bin"} | given, check=False).returncode


@pytest.mark.parametrize(
    ("partition", "context", "more", "code"),
    [
        ("gpu", "prolog_slurmctld", {}, 1),
        ("paid", "prolog_slurmctld", {}, 1),
        ("work", "prolog_slurmctld", {}, 0),
        ("gp", "prolog_slurmctld", {}, 0),
        ("gpu", "epilog_slurmctld", {}, 0),
        ("gpu", "prolog_slurmctld", {"SLURM_JOB_COMMENT": '"} $(id)'}, 1),
        ("gpu", "prolog_slurmctld", {"SLURM_JOB_ID": "7;id"}, 1),
    ],
)
def test_script__node_down__fails_at_a_start_in_guarded_partitions_only(
    tmp_path: Path, partition: str, context: str, more: dict[str, str], code: int
) -> None:
    assert script(tmp_path, partition, context, **more) == code
