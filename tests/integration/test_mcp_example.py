"""The example of an agent framework: its own environment, llama.cpp as its model, our server as its tools."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import llm_server
from demo.classes import LLM_SKU
from oracle.catalogue import Catalogue
from scrip.chain import Chain
from scrip.types import Resource, sku_id
from tests.conftest import python_of
from tests.integration.mcp_lab import ROOT, McpLab, prepare
from tests.integration.oracle_lab import lab
from tests.integration.system import System

CONTEXT = "The money of the buyers is kept in a contract that is called the reserve."
QUESTION = "Where is the money kept?"


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[McpLab]:
    """A provider that sells the model's tokens beside CPU-seconds."""
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        made.serve(LLM_SKU)
        assert Catalogue.load().template("llm.generate").sku == LLM_SKU
        ready = prepare(made)
        system.create_class(
            min_assurance=1, resource=Resource.OUTPUT_TOKEN, decimals=0, sku=sku_id(LLM_SKU), name="tokens",
            price_per_million=10_000_000,
        )  # fmt: skip
        yield ready


def example(place: McpLab, folder: Path, url: str, at_most: str) -> subprocess.CompletedProcess[str]:
    """Run it in the framework's environment, on the configuration an MCP client takes."""
    program, *args = place.command("--limit", "0.01", "--per-call", "0.005")
    server = {"command": program, "args": args, "env": place.env(folder), "cwd": str(folder)}
    config, context = folder / "mcp.json", folder / "context.txt"
    config.write_text(json.dumps({"mcpServers": {"scrip": server}}))
    context.write_text(CONTEXT)
    command = [
        str(python_of("agent-framework")), str(ROOT / "examples" / "mcp_agent.py"), "--mcp", str(config),
        "--model-url", url, "--question", QUESTION, "--context", str(context), "--at-most", at_most,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=folder, env=place.env(folder) | {"PYTHONPATH": ""}, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip


def test_example__too_dear__buys_nothing(place: McpLab, tmp_path: Path) -> None:
    before = place.footprint()
    done = example(place, tmp_path, "http://127.0.0.1:9/v1", "0.0000001")
    assert done.returncode == 1, done.stderr
    assert "not bought: it costs up to 0.0" in done.stderr
    assert place.footprint() == before


def test_example__local_model__work_bought_verified_and_written_up(place: McpLab, tmp_path: Path) -> None:
    python_of("agent-framework")
    with llm_server.running(slots=1) as model:
        done = example(place, tmp_path, f"{model.url}/v1", "0.01")
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["verified"] is True
    assert told["sentence"]
    assert told["answer"]
    assert told["job"] == "0x" + place.jobs()[-1].hex()
    assert len(place.jobs()) == 1
    # The cheapest that can pay for it: 180 CPU-seconds, the template's limit, or 64 tokens.
    assert int(told["price"]["base_units"]) == min(180_000 * 2 // 1_000, 640)
