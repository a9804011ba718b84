"""The HTTP APIs against their own OpenAPI documents: Schemathesis sends what fits them and what doesn't."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scrip.chain import Chain
from scrip.types import Status
from scripts.reference.http import render
from tests.conftest import python_of
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import System

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs" / "openapi"
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=1) as made:
        yield made


def run_clean(url: str, folder: Path, known: str = "", mode: str = "all") -> None:
    """Every check of Schemathesis passes. `known` are values of parameters that lead somewhere."""
    python = python_of("schemathesis")
    config = folder / "schemathesis.toml"
    config.write_text(f"[parameters]\n{known}\n" + CONFIG.read_text())
    argv = [
        str(python), "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json",
        "--checks", "all", "--mode", mode, "--max-examples", "25", "--seed", "1", "--no-shrink", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


def documented(url: str, name: str) -> None:
    """The node's OpenAPI document is the committed one, from which its reference page is made."""
    text = render(httpx.get(f"{url}/openapi.json", trust_env=False).json())
    file = DOCUMENTS / f"{name}.json"
    if os.environ.get("SCRIP_WRITE_OPENAPI"):
        file.write_text(text)
    assert text == file.read_text(), f"{file} is stale: run this with SCRIP_WRITE_OPENAPI=1 and commit it"


def test_provider__schemathesis__runs_clean(place: OracleLab, tmp_path: Path) -> None:
    class_id = place.system.create_class(min_assurance=1)
    buyer = place.buy(class_id, 1_000_000)
    rates = [{"model": "smol", "class_id": class_id, "input": 1, "output": 1}]
    place.start("provider", place.provider_settings(gateway={"rates": rates}, x402={"sell": (class_id,)}))
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.SETTLED)
    documented(place.url, "provider")
    run_clean(place.url, tmp_path)
    run_clean(place.url, tmp_path, mode="positive", known=f'job_id = "0x{job.hex()}"')
    assert httpx.get(f"{place.url}/readyz", trust_env=False).status_code == 200


def test_watcher__schemathesis__runs_clean(place: OracleLab, tmp_path: Path) -> None:
    place.start("watcher-0", place.watcher_settings(0))
    documented(place.watcher_urls[0], "watcher")
    run_clean(place.watcher_urls[0], tmp_path)
