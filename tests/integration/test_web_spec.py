"""The page's hash of a spec is that of `scrip.spec`: otherwise a provider would refuse every job."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scrip.spec import JobSpec, spec_hash

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
HASH = """
import { readFileSync } from "node:fs";
import { specHash } from "./spec.mjs";
const spec = JSON.parse(readFileSync(0, "utf8"));
try { console.log(specHash(spec)); } catch (error) { console.log(error.message); }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's module, bundled for Node."""
    folder = tmp_path_factory.mktemp("spec")
    esbuild = [str(ROOT / "node_modules" / ".bin" / "esbuild"), "web/src/spec.ts", "--bundle", "--format=esm"]
    esbuild += ["--alias:@scrip/abi=./abi/src/index.ts", f"--outfile={folder / 'spec.mjs'}"]
    subprocess.run(esbuild, cwd=ROOT, check=True, capture_output=True, timeout=SECONDS)
    return folder


def told(place: Path, spec: dict[str, Any]) -> str:
    command = ["node", "--input-type=module", "--eval", HASH]
    done = subprocess.run(
        command,
        cwd=place,
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"steps": 20_000, "seed": "0x" + "11" * 32, "on": True, "none": None, "deep": {"b": [1], "a": ""}},
        {"text": 'quotes " and \\, lines\n\t\r, \x00\x1f\x7f, é, \u2028, 漢字, 😀'},
        # UTF-16 orders the first two otherwise.
        {"\U0001f600": 1, "\uff5e": 2, "z": 3, "aa": 4, "a": 5, "": 6},
        {"most": 2**53 - 1, "least": -(2**53 - 1), "zero": 0},
    ],
)  # fmt: skip
def test_spec_hash__of_the_page__is_scrips(place: Path, params: dict[str, Any]) -> None:
    spec = JobSpec("hash.chain", params)
    assert told(place, spec.to_json()) == "0x" + spec_hash(spec).hex()


@pytest.mark.parametrize(("value", "limit"), [(0.5, "a whole number"), ("\ud800", "no lone surrogates")])
def test_spec_hash__what_languages_write_differently__is_refused(
    place: Path, value: object, limit: str
) -> None:
    assert limit in told(place, {"template": "x", "params": {"value": value}})
