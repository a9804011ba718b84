"""The npm package of abi/, packed and installed as a dApp would have it, beside viem and ethers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount

from scrip import deployments
from scripts import abi_typescript
from tests.integration.system import System, account

ROOT = Path(__file__).resolve().parents[2]
TSC = ROOT / "node_modules" / ".bin" / "tsc"
PEERS = ("viem", "ethers", "@types")
SECONDS = 120


def run(*argv: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [str(part) for part in argv],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def node_test(place: Path, *files: str, **environment: str) -> None:
    """Run test files with Node's own runner; every one of them has to hold at least one test that passes."""
    for file in files:
        told = run("node", "--test", "--test-reporter=tap", f"test/{file}", cwd=place, **environment)
        assert "\n# fail 0\n" in told
        assert "\n# pass 0\n" not in told, f"{file} holds no test"
        assert "\n# skipped 0\n" in told


def sources(place: Path) -> Path:
    """A copy of abi/ to compile: in the checkout another process may do the same."""
    source = place / "abi"
    shutil.copytree(ROOT / "abi", source, ignore=shutil.ignore_patterns("dist"))
    (source / "node_modules").symlink_to(ROOT / "node_modules")
    return source


@pytest.fixture(scope="module")
def dapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the packed package, viem and ethers in its node_modules, and the tests of abi/."""
    place, source = tmp_path_factory.mktemp("dapp"), sources(tmp_path_factory.mktemp("source"))
    run("npm", "pack", "--silent", "--offline", "--pack-destination", place, cwd=source)
    (packed,) = place.glob("*.tgz")
    modules = place / "node_modules"
    (modules / "@scrip").mkdir(parents=True)
    with tarfile.open(packed) as archive:
        archive.extractall(modules / "@scrip", filter="data")
    (modules / "@scrip" / "package").rename(modules / "@scrip" / "abi")
    for name in PEERS:
        (modules / name).symlink_to(ROOT / "node_modules" / name)
    shutil.copytree(ROOT / "abi" / "test", place / "test")
    return place


@pytest.fixture(scope="module")
def empty(dapp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder into which npm itself installed the packed package: nothing else was asked for.

    What it depends on comes from tarballs of what `make setup` installed, since no test uses the network.
    """
    place = tmp_path_factory.mktemp("empty")
    (packed,) = dapp.glob("*.tgz")
    wanted = {"@scrip/abi": f"file:{packed}"}
    for name in dependencies_of("viem"):
        file = place / f"{name.replace('/', '-')}.tgz"
        with tarfile.open(file, "w:gz") as archive:
            archive.add(ROOT / "node_modules" / name, arcname="package")
        wanted[name] = f"file:{file}"
    # `overrides` instead of `dependencies`: the project itself asks for the one package.
    overrides = {name: path for name, path in wanted.items() if name != "@scrip/abi"}
    project = {"dependencies": {"@scrip/abi": wanted["@scrip/abi"]}, "overrides": overrides}
    (place / "package.json").write_text(json.dumps(project))
    run("npm", "install", "--offline", "--ignore-scripts", "--silent", "--no-audit", "--no-fund", cwd=place)
    shutil.copytree(ROOT / "abi" / "test", place / "test")
    return place


def dependencies_of(name: str) -> list[str]:
    """A package of the lockfile and all that it depends on, however indirectly."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    found, waiting = [], [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.append(each)
            waiting += packages[f"node_modules/{each}"].get("dependencies", {})
    return found


@pytest.fixture
def market(system: System, tmp_path: Path) -> dict[str, str]:
    """A provider that serves a class, a buyer with dollars, a relayer: what chain tests are told of them."""
    buyer, provider, oracle = (system.funded(name) for name in ("dapp buyer", "dapp provider", "dapp oracle"))
    relayer = system.funded("dapp relayer")
    system.mint(buyer.address, 10**9)
    system.register(provider.address, oracle.address)
    class_id = system.create_class(price_per_million=1_234_567_891)
    return {
        "RPC": system.anvil.url,
        "DEPLOYMENT": str(deployments.save(system.deployment, tmp_path)),
        "CLASS_ID": str(class_id),
        "BUYER_KEY": key(buyer),
        "ORACLE_KEY": key(oracle),
        "RELAYER_KEY": key(relayer),
        "PROVIDER": provider.address,
    }


def key(owner: LocalAccount) -> str:
    """A private key as JavaScript libraries take it."""
    return "0x" + bytes(owner.key).hex()


def test_package__packed__holds_modules_types_and_json_and_nothing_else(dapp: Path) -> None:
    package = dapp / "node_modules" / "@scrip" / "abi"
    held = {path.relative_to(package).parts[0] for path in package.rglob("*") if path.is_file()}
    assert held <= {"dist", "json", "package.json", "README.md", "LICENSE"}
    names = {path.stem for path in (ROOT / "abi" / "json").glob("*.json")}
    assert {path.stem for path in (package / "json").glob("*.json")} == names
    modules = {path.stem for path in (package / "dist" / "generated").glob("*.js")}
    assert modules == names | {"index", "notices", "deployments"}


def test_types__of_the_package__let_a_dapp_write_what_is_right_only(dapp: Path) -> None:
    run(TSC, "--noEmit", "-p", "test", cwd=dapp)


def test_types__of_the_packages_readme__are_right(dapp: Path) -> None:
    blocks = re.findall(r"```ts\n(.*?)```", (ROOT / "abi" / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 4
    place = dapp / "readme"
    place.mkdir()
    for number, block in enumerate(blocks):
        (place / f"block{number}.mts").write_text(block)
    settings = json.loads((ROOT / "abi" / "test" / "tsconfig.json").read_text())
    del settings["files"]
    (place / "tsconfig.json").write_text(json.dumps(settings))
    run(TSC, "--noEmit", "-p", "readme", cwd=dapp)


def test_addresses__of_recorded_deployments__are_found_by_chain(system: System, tmp_path: Path) -> None:
    source, public = sources(tmp_path), replace(system.deployment, chain_id=84532)
    deployments.save(public, tmp_path / "deployments")
    made = dict(abi_typescript.files({}, {}, tmp_path / "deployments"))
    (source / "src" / "generated" / "deployments.ts").write_text(made["deployments.ts"])
    run(TSC, "-p", ".", cwd=source)
    script = """import { addressOf, deploymentOn, knownChains } from "./dist/index.js";
    console.log(JSON.stringify([knownChains(), addressOf(deploymentOn(84532), "JobMarket")]));"""
    told = run("node", "--input-type=module", "--eval", script, cwd=source)
    assert json.loads(told) == [[84532], public.address("JobMarket")]


def test_messages_and_amounts__equal_those_of_scrip(dapp: Path) -> None:
    node_test(dapp, "vectors.test.mjs", VECTORS=str(ROOT / "tests" / "vectors" / "eip712.json"))


def test_errors_and_input__are_told_by_name(dapp: Path) -> None:
    node_test(dapp, "errors.test.mjs", "input.test.mjs")


def test_package__installed_by_npm_into_an_empty_folder__buys_and_redeems(
    empty: Path, market: dict[str, str]
) -> None:
    assert not (empty / "node_modules" / "ethers").exists()
    node_test(empty, "chain/viem.test.mjs", **market)


@pytest.mark.parametrize("library", ["viem", "ethers"])
def test_library__with_the_package_alone__buys_and_redeems(
    library: str, dapp: Path, system: System, market: dict[str, str]
) -> None:
    node_test(dapp, f"chain/{library}.test.mjs", **market)
    left = system.contract("ComputeCredits").functions.balanceOf(
        account("dapp buyer").address, int(market["CLASS_ID"])
    )
    assert left.call() == 1_500 - 400
