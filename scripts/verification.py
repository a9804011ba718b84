"""What explorers need to verify a deployed contract, and the same check done here before anybody is asked.

`write` puts into `build/verify/<chainId>/` for every contract the compiler's standard-JSON input
(https://docs.soliditylang.org/en/latest/using-the-compiler.html#input-description) with all sources in it,
and `manifest.json` with address, compiler version, licence and ABI-encoded constructor arguments.
"""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from scrip.errors import ScripError
from scripts.deployment_record import Record

ROOT = Path(__file__).resolve().parents[1]
ARTEFACTS = ROOT / "build" / "brownie" / "contracts"
FOLDER = ROOT / "build" / "verify"
COMPILE_SECONDS = 600
_LICENCE = re.compile(r"SPDX-License-Identifier: (\S+)")
_IMPORT = re.compile(r"""^import\s[^;"']*["']([^"']+)["'];""", re.MULTILINE)
_OUTPUT = ("evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences")


class VerificationFailed(ScripError):
    """A contract on the chain isn't what its sources compile to, or its input can't be made."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One contract of the manifest. `constructor_arguments` and `creation_transaction` are hex with 0x."""

    name: str
    address: str
    identifier: str
    compiler: str
    licence: str
    constructor_arguments: str
    creation_transaction: str


def folder_of(record: Record, base: Path = FOLDER) -> Path:
    """Where the files of a deployment are."""
    return base / str(record.deployment.chain_id)


def standard_json(artefact: Mapping[str, Any]) -> dict[str, Any]:
    """The input that compiles one contract as Brownie did: its sources, the settings of Brownie's file."""
    compiler = yaml.safe_load((ROOT / "brownie-config.yaml").read_text("utf-8"))["compiler"]
    solc, path = compiler["solc"], artefact["sourcePath"]
    remappings = dict(entry.split("=") for entry in solc["remappings"])
    paths = sorted(_imported(path, remappings, set()))
    return {
        "language": "Solidity",
        "sources": {name: {"content": (ROOT / name).read_text("utf-8")} for name in paths},
        "settings": {
            "evmVersion": compiler["evm_version"],
            "viaIR": solc["viaIR"],
            "optimizer": solc["optimizer"],
            "remappings": solc["remappings"],
            "outputSelection": {path: {artefact["contractName"]: list(_OUTPUT)}},
        },
    }


def write(record: Record, eth: Any, base: Path = FOLDER) -> list[Entry]:
    """Write the inputs and the manifest of a deployment; `eth` is web3's, for the creation transactions.

    Raises VerificationFailed if a contract's creation isn't its compiled code followed by arguments.
    """
    folder, entries = folder_of(record, base), []
    folder.mkdir(parents=True, exist_ok=True)
    for name, address in sorted(record.deployment.contracts.items()):
        artefact = json.loads((ARTEFACTS / f"{name}.json").read_text("utf-8"))
        if name not in record.created:
            raise VerificationFailed(f"{name}: the record doesn't say which transaction created it")
        tx = record.created[name].tx
        _dump(folder / f"{name}.json", standard_json(artefact))
        entries.append(
            Entry(
                name=name,
                address=address,
                identifier=f"{artefact['sourcePath']}:{name}",
                compiler=artefact["compiler"]["version"],
                licence=_licence(artefact),
                constructor_arguments="0x" + _arguments(eth, tx, name, artefact).hex(),
                creation_transaction=tx,
            )
        )
    _dump(folder / "manifest.json", {"contracts": [asdict(entry) for entry in entries]})
    return entries


def problems(entries: list[Entry], eth: Any, folder: Path) -> Iterator[str]:
    """Compile each written input anew and compare with the chain, byte for byte; a line for each difference.

    Immutables are at the places that the compiler names, and there alone the bytes may differ; the metadata
    hash at the end has to be the same, so the sources are the very same too.
    """
    for entry in entries:
        compiled, places = compile_input(folder / f"{entry.name}.json", entry)
        runtime = bytearray(eth.get_code(entry.address))
        for start, length in places:
            runtime[start : start + length] = bytes(length)
        if bytes(runtime) != compiled:
            yield f"{entry.name} {entry.address}: its sources don't compile to the code on the chain"


def compile_input(file: Path, entry: Entry) -> tuple[bytes, list[tuple[int, int]]]:
    """Runtime code of a written input, and (start, length) of its immutables. Raises VerificationFailed."""
    solc = ROOT / ".solcx" / f"solc-v{entry.compiler.partition('+')[0]}"
    done = subprocess.run(
        [str(solc), "--standard-json", str(file)],
        capture_output=True,
        text=True,
        timeout=COMPILE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise VerificationFailed(f"{entry.name}: the compiler ended with {done.returncode}: {done.stderr}")
    output = json.loads(done.stdout)
    errors = [error["message"] for error in output.get("errors", ()) if error["severity"] == "error"]
    if errors:
        raise VerificationFailed(f"{entry.name}: {errors[0]}")
    path, _, name = entry.identifier.rpartition(":")
    code = output["contracts"][path][name]["evm"]["deployedBytecode"]
    groups = code["immutableReferences"].values()
    return bytes.fromhex(code["object"]), [(at["start"], at["length"]) for group in groups for at in group]


def _imported(path: str, remappings: Mapping[str, str], found: set[str]) -> set[str]:
    """A source and all that it imports, however indirectly, by the names that the compiler gives them."""
    if path in found:
        return found
    found.add(path)
    for named in _IMPORT.findall((ROOT / path).read_text("utf-8")):
        if named.startswith("."):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), named))
        else:
            prefix = next(prefix for prefix in remappings if named.startswith(prefix))
            target = remappings[prefix] + named.removeprefix(prefix)
        _imported(target, remappings, found)
    return found


def _arguments(eth: Any, tx: str, name: str, artefact: Mapping[str, Any]) -> bytes:
    sent, creation = bytes(eth.get_transaction(tx)["input"]), bytes.fromhex(artefact["bytecode"])
    if not sent.startswith(creation):
        raise VerificationFailed(f"{name}: transaction {tx} didn't create it from the code compiled here")
    return sent[len(creation) :]


def _licence(artefact: Mapping[str, Any]) -> str:
    found = _LICENCE.search((ROOT / artefact["sourcePath"]).read_text("utf-8"))
    return found[1] if found else "UNLICENSED"


def _dump(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
