"""`scrip oracle check` on admission's settings: each thing that can be wrong is said in plain words."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import oracle
from oracle.admission.check import _installed, findings
from oracle.findings import Finding, Mark
from oracle.settings import Settings
from oracle.settings_admission import SlurmAdmission
from tests.unit.oracle_market import PAYER, PROVIDER

SCRIPTS = Path(oracle.__file__).parent / "deploy" / "slurm"


def certificate(folder: Path, start: int = -1, days: int = 90, name: str = "tls") -> tuple[Path, Path]:
    """Files of a certificate that holds `days` from now, beginning in `start` days, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scrip-admission")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=start))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("scrip-admission.scrip-system.svc")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    files[1].chmod(0o600)
    return files


def found(folder: Path, **admission: Any) -> dict[str, Finding]:
    """Every finding by what it is about."""
    given = {
        "role": "provider", "state_dir": folder / "state", "provider": {"address": PROVIDER},
        "chain": {"rpc_url": "http://127.0.0.1:1", "chain_id": 31337}, "admission": admission,
    }  # fmt: skip
    return {item.what: item for item in findings(Settings.model_validate(given))}


def webhook(folder: Path, files: tuple[Path, Path], **more: Any) -> dict[str, Finding]:
    return found(folder, kubernetes={"cert": files[0], "cert_key": files[1]} | more)


def said(item: Finding, mark: Mark, words: str) -> None:
    assert item.mark is mark, item
    assert words in item.detail


def test_webhook__certificate_in_order__named_with_its_end(tmp_path: Path) -> None:
    made = webhook(tmp_path, certificate(tmp_path), namespaces={"team-a": (PAYER,)})
    said(made["webhook certificate"], Mark.OK, "scrip-admission.scrip-system.svc, until ")
    said(made["webhook namespaces"], Mark.OK, "team-a (1)")


@pytest.mark.parametrize(
    ("start", "days", "mark", "words"),
    [
        (-9, -1, Mark.FAIL, "expired"),
        (1, 90, Mark.FAIL, "not valid before"),
        (-9, 13, Mark.WARN, "renew it"),
    ],
)
def test_webhook__certificate_not_of_today__said(
    tmp_path: Path, start: int, days: int, mark: Mark, words: str
) -> None:
    files = certificate(tmp_path, start, days)
    said(webhook(tmp_path, files)["webhook certificate"], mark, words)
    ca = webhook(tmp_path, certificate(tmp_path, name="other"), client_ca=files[0])
    said(ca["webhook client CA"], mark, words)


def test_webhook__files_that_do_not_serve__said(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    _, other = certificate(tmp_path, name="other")
    what = "webhook certificate"
    said(webhook(tmp_path, (cert, other))[what], Mark.FAIL, "isn't the key of")
    said(webhook(tmp_path, (key, key))[what], Mark.FAIL, "holds no PEM certificate")
    said(webhook(tmp_path, (tmp_path / "none", key))[what], Mark.FAIL, "No such file")
    key.chmod(0o644)
    said(webhook(tmp_path, (cert, key))[what], Mark.WARN, "has mode 644")


def test_webhook__nobody_listed__said(tmp_path: Path) -> None:
    said(webhook(tmp_path, certificate(tmp_path))["webhook namespaces"], Mark.WARN, "nothing is admitted")


def test_webhook__port__free_taken_or_not_ours(tmp_path: Path) -> None:
    files, what = certificate(tmp_path), "webhook port"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        said(webhook(tmp_path, files, port=taken)[what], Mark.WARN, "is in use")
    said(webhook(tmp_path, files, port=taken)[what], Mark.OK, "is free")
    said(webhook(tmp_path, files, port=0)[what], Mark.WARN, "Choose one")
    said(webhook(tmp_path, files, host="192.0.2.1")[what], Mark.FAIL, "192.0.2.1:8443")


def test_metrics__port__looked_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        at = {"port": listening.getsockname()[1]}
        made = found(tmp_path, slurm={"socket": tmp_path / "s", "partitions": ("paid",)}, metrics=at)
        said(made["admission metrics"], Mark.WARN, "is in use")


def test_socket__its_folder_and_who_answers(tmp_path: Path) -> None:
    def asked(path: Path) -> Finding:
        return found(tmp_path, slurm={"socket": path, "partitions": ("paid",)})["Slurm socket"]

    path = tmp_path / "run" / "admission.sock"
    said(asked(path), Mark.FAIL, "isn't a folder that we may write")
    path.parent.mkdir(mode=0o755)
    said(asked(path), Mark.OK, "nothing listens yet")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        said(asked(path), Mark.OK, "answers")
    said(asked(path), Mark.OK, "nothing listens yet")
    path.unlink()
    path.write_text("")
    said(asked(path), Mark.FAIL, "is no socket")
    path.parent.chmod(0o777)
    said(asked(path), Mark.FAIL, "writable for every user")


@pytest.fixture
def slurm(tmp_path: Path) -> SlurmAdmission:
    """What is installed in `tmp_path`, as the page says."""
    for name in ("job_submit.lua", "scrip_admission.sh"):
        shutil.copy(SCRIPTS / name, tmp_path / name)
    (tmp_path / "scrip_admission.sh").chmod(0o755)
    (tmp_path / "scrip_admission.conf").write_text(
        f"socket={tmp_path}/admission.sock\npartitions=gpu, paid\n"
    )
    return SlurmAdmission(socket=tmp_path / "admission.sock", partitions=("paid", "gpu"))


def test_filter__installed__named(tmp_path: Path, slurm: SlurmAdmission) -> None:
    assert _installed(tmp_path, slurm) == (Mark.OK, f"{tmp_path} guards paid, gpu")


@pytest.mark.parametrize(
    ("file", "text", "mark", "words"),
    [
        ("scrip_admission.conf", "socket=/other.sock\npartitions=gpu,paid", Mark.FAIL, "asks at /other.sock"),
        ("scrip_admission.conf", "socket={}/admission.sock\npartitions=gpu", Mark.FAIL, "leaves out paid"),
        ("job_submit.lua", "return slurm.SUCCESS", Mark.WARN, "job_submit.lua in "),
    ],
)
def test_filter__another_than_ours__said(
    tmp_path: Path, slurm: SlurmAdmission, file: str, text: str, mark: Mark, words: str
) -> None:
    (tmp_path / file).write_text(text.replace("{}", str(tmp_path)))
    found_mark, detail = _installed(tmp_path, slurm)
    assert found_mark is mark
    assert words in detail


def test_filter__script_that_cannot_be_run__said(tmp_path: Path, slurm: SlurmAdmission) -> None:
    (tmp_path / "scrip_admission.sh").chmod(0o644)
    assert _installed(tmp_path, slurm)[0] is Mark.FAIL


def test_not_configured__nothing_found(tmp_path: Path) -> None:
    given = {
        "role": "provider", "state_dir": tmp_path, "provider": {"address": PROVIDER},
        "chain": {"rpc_url": "http://127.0.0.1:1", "chain_id": 31337},
    }  # fmt: skip
    assert list(findings(Settings.model_validate(given))) == []
