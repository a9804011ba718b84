"""`scrip oracle check` on real contracts: each thing that can be wrong is said in plain words."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils.abi import function_abi_to_4byte_selector
from typer.testing import CliRunner

from oracle import preflight
from oracle.cli import app
from oracle.findings import Finding, Mark
from oracle.preflight import check
from oracle.store import Store
from scrip import keys
from scrip.abi import abi
from scrip.chain import Chain
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import REGION, System, account


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def class_id(place: OracleLab) -> int:
    place.system.stake(place.provider, 10**9)
    return place.system.create_class(min_assurance=1)


def found(place: OracleLab, **sections: Any) -> dict[str, Finding]:
    """Every finding by what it is about."""
    return {item.what: item for item in check(place.provider_settings(**sections))}


def says(place: OracleLab, what: str, mark: Mark, *words: str, **sections: Any) -> None:
    item = found(place, **sections)[what]
    assert item.mark is mark, item
    for word in words:
        assert word in item.detail


def test_all_well__nothing_fails(place: OracleLab, class_id: int) -> None:
    marks = {what: item.mark for what, item in found(place).items()}
    assert Mark.FAIL not in marks.values()
    assert {"key", "state folder", "database", "chain", "contracts", "clock", "confinement", "catalogue",
            "GPU metering", "gas", "registration", "URI", "stake", "classes"} <= set(marks)  # fmt: skip
    assert marks["stake"] is marks["classes"] is marks["contracts"] is Mark.OK


def test_command__something_fails__status_1_and_a_table(place: OracleLab, tmp_path: Path) -> None:
    text = f"""
        role = "provider"
        state_dir = "{tmp_path / "state"}"
        [chain]
        rpc_url = "{place.system.anvil.url}/KEY-OF-THE-NODE"
        chain_id = 31337
        deployment = "{tmp_path}"
        [provider]
        address = "{place.provider}"
    """
    config = tmp_path / "oracle.toml"
    config.write_text(text)
    done = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert done.exit_code == 1
    assert "not found" in done.stdout
    assert "KEY-OF-THE-NODE" not in done.stdout


# Key


def test_key__wrong_password__fails(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not it")
    key = {"keystore": place.folder / "oracle.json", "password_file": tmp_path / "wrong"}
    says(place, "key", Mark.FAIL, "password", key=key)


def test_key__missing__fails(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    key = {"keystore": tmp_path / "none.json", "password_file": tmp_path / "password"}
    says(place, "key", Mark.FAIL, "none.json", key=key)


def test_key__none__warns_of_a_dry_run(place: OracleLab, class_id: int) -> None:
    says(place, "key", Mark.WARN, "dry", key={})


def test_key__of_another_node__fails_with_both_addresses(place: OracleLab, class_id: int) -> None:
    other = place.system.funded("another oracle")
    path = place.folder / "other.json"
    keys.import_key(path, other.key, "x", work=keys.SCRYPT_WORK_LIGHT)
    (place.folder / "other-password").write_text("x")
    key = {"keystore": path, "password_file": place.folder / "other-password"}
    says(place, "registration", Mark.FAIL, other.address, account("oracle").address, key=key)


def test_gas__none__fails(place: OracleLab, class_id: int) -> None:
    place.system.anvil.set_balance(account("oracle").address, 0)
    says(place, "gas", Mark.FAIL, "holds no coins")


def test_gas__little__warns(place: OracleLab, class_id: int) -> None:
    place.system.anvil.set_balance(account("oracle").address, 10**9)
    says(place, "gas", Mark.WARN, "wei")


# Chain and contracts


def test_chain__away__fails_and_ends_the_report(place: OracleLab, class_id: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        settings = place.provider_settings()
        away = settings.model_copy(update={"chain": settings.chain.model_copy(update={"rpc_url": url})})
        last = check(away)[-1]
    assert (last.what, last.mark) == ("chain", Mark.FAIL)
    assert "127.0.0.1" in last.detail


def test_chain__other_id__fails_with_both(place: OracleLab, class_id: int) -> None:
    settings = place.provider_settings()
    record = json.loads((place.folder / "deployments" / "31337.json").read_text())
    (place.folder / "deployments" / "1337.json").write_text(json.dumps(record | {"chainId": 1337}))
    other = settings.model_copy(update={"chain": settings.chain.model_copy(update={"chain_id": 1337})})
    last = check(other)[-1]
    assert (last.what, last.mark) == ("chain", Mark.FAIL)
    assert "31337" in last.detail
    assert "1337" in last.detail


def test_chain__reset_since_the_deployment__fails(place: OracleLab, class_id: int) -> None:
    settings = place.provider_settings()
    place.system.anvil.rpc("anvil_setCode", place.chain.address("JobMarket"), "0x")
    last = check(settings)[-1]
    assert (last.what, last.mark) == ("chain", Mark.FAIL)
    assert "no code" in last.detail


def test_contracts__of_another_version__fail_with_the_function_missing(
    place: OracleLab, class_id: int
) -> None:
    settings = place.provider_settings()
    code = place.system.w3.eth.get_code(place.system.w3.to_checksum_address(place.chain.address("JobMarket")))
    entry = next(item for item in abi("JobMarket") if item.get("name") == "submitBatch")
    older = bytes(code).replace(function_abi_to_4byte_selector(entry), b"\xde\xad\xbe\xef")  # type: ignore[arg-type]
    place.system.anvil.rpc("anvil_setCode", place.chain.address("JobMarket"), "0x" + older.hex())
    item = {one.what: one for one in check(settings)}["contracts"]
    assert item.mark is Mark.FAIL
    assert "submitBatch(" in item.detail


def test_clock__far_from_the_chains__warns_which_way(place: OracleLab, class_id: int) -> None:
    place.system.anvil.advance(3_600)
    says(place, "clock", Mark.WARN, "behind", "NTP")


# Provider


def test_registration__missing__fails(place: OracleLab, class_id: int) -> None:
    stranger = place.system.funded("stranger").address
    says(place, "registration", Mark.FAIL, "Register", provider={"address": stranger})


def test_uri__other_than_ours__fails_with_both(place: OracleLab, class_id: int) -> None:
    place.system.send(
        "ProviderRegistry", "update", account("oracle").address, REGION, "https://old.example/x",
        sender=place.provider,
    )  # fmt: skip
    says(place, "URI", Mark.FAIL, "https://old.example", place.url)


def test_stake__none__warns(place: OracleLab) -> None:
    says(place, "stake", Mark.WARN, "none")


def test_classes__one_listed_that_cannot_be_served__fails(place: OracleLab, class_id: int) -> None:
    other = place.system.create_class(sku=b"\x01" * 32)
    says(place, "classes", Mark.FAIL, str(other), provider={"classes": [class_id, other]})


def test_classes__none_to_serve__warns(place: OracleLab) -> None:
    says(place, "classes", Mark.WARN, "register")


def test_catalogue__not_one__fails(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text("[[template]]\nname = 'x'\n")
    says(place, "catalogue", Mark.FAIL, "title", provider={"catalogue": tmp_path / "catalogue.toml"})


def test_gpu__named_but_no_driver_here__fails(place: OracleLab, class_id: int) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has NVIDIA's driver")  # pragma: no cover
    says(place, "GPU metering", Mark.FAIL, "NVML", provider={"gpus": ["GPU-1"]})


def test_gpu__simulated__warns(place: OracleLab, class_id: int) -> None:
    given = {"simulated_gpu": True, "gpu_sku": "test-gpu"}
    says(place, "GPU metering", Mark.WARN, "SIMULATED", provider=given)


def test_gpu__named_one_is_missing__fails_with_those_there(place: OracleLab, class_id: int) -> None:
    given = {"simulated_gpu": True, "gpu_sku": "test-gpu", "gpus": ["GPU-none"]}
    says(place, "GPU metering", Mark.FAIL, "GPU-none", "NVML sees GPU-", provider=given)


def test_watchers__away__warns_which(place: OracleLab, class_id: int) -> None:
    away = "http://127.0.0.1:9"
    says(place, "watchers", Mark.WARN, away, quorum={"watchers": [away]})


# This machine


def test_state_folder__others_can_read__warns(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    says(place, "state folder", Mark.WARN, "755", state_dir=open_to_all)


def test_state_folder__is_a_file__fails(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    says(place, "state folder", Mark.FAIL, "file", state_dir=tmp_path / "file")


def test_disk__little_room__warns(place: OracleLab, class_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FREE_BYTES", 1 << 62)
    says(place, "state folder", Mark.WARN, "free")


def test_database__not_one__fails(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    (tmp_path / "oracle.db").write_text("no database")
    says(
        place,
        "database",
        Mark.FAIL,
        "not a database",
        database={"url": f"sqlite:///{tmp_path / 'oracle.db'}"},
    )


def test_database__of_a_node__is_fine(place: OracleLab, class_id: int, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'oracle.db'}"
    Store.open(url).close()
    says(place, "database", Mark.OK, "oracle.db", database={"url": url})


def test_confinement__no_bubblewrap__warns(
    place: OracleLab, class_id: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    says(place, "confinement", Mark.WARN, "Install bubblewrap")
