"""forge, Brownie and npm must agree on one compiler and one set of options: same bytecode everywhere."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]


def forge() -> dict[str, Any]:
    profile: dict[str, Any] = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]
    return profile


def brownie() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "brownie-config.yaml").read_text())
    return config


def test_compiler__version__is_the_same_for_forge_brownie_and_npm() -> None:
    npm = json.loads((ROOT / "package.json").read_text())["devDependencies"]["solc"]
    assert forge()["solc"] == f".solcx/solc-v{npm}"
    assert brownie()["compiler"]["solc"]["version"] == npm


def test_compiler__options__are_the_same_for_forge_and_brownie() -> None:
    ours, theirs = forge(), brownie()["compiler"]
    assert ours["evm_version"] == theirs["evm_version"]
    assert ours["via_ir"] is theirs["solc"]["viaIR"]
    assert {"enabled": ours["optimizer"], "runs": ours["optimizer_runs"]} == theirs["solc"]["optimizer"]
    assert ours["remappings"] == theirs["solc"]["remappings"]
    assert ours["auto_detect_remappings"] is False


def test_brownie__default_network__is_left_out() -> None:
    assert "default" not in brownie()["networks"]


def test_lockfile__download_addresses__are_absent() -> None:
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()


def test_lockfile__foundry_binaries__cover_every_platform() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    for tool in ("anvil", "cast", "forge"):
        for name in packages[f"node_modules/@foundry-rs/{tool}"]["optionalDependencies"]:
            assert f"node_modules/{name}" in packages
