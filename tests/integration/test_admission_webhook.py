"""Kubernetes' webhook as the API server meets it: over TLS, about jobs that real contracts know."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oracle.admission.serve import Admitting
from oracle.server import ServerProblem
from oracle.settings import Settings
from scrip.chain import Chain
from scrip.types import Status
from tests.integration.admission_place import GPU, HOUR_UNITS, Place, admitting
from tests.integration.oracle_lab import lab
from tests.integration.system import System, account
from tests.unit.admission_factory import vector


class Authority:
    """Signs certificates for 127.0.0.1, as cert-manager would for the Service."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = _named("test authority")
        made = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = self._builder(_named(name), key.public_key()).add_extension(host, critical=False)
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[Place]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield Place(made)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings_of(place: Place, authority: Authority, **more: Any) -> Settings:
    cert, key = authority.issue("webhook")
    given = {
        "port": 0, "cert": cert, "cert_key": key, "namespaces": {"team-a": (account("buyer").address,)},
        "skus": {"NVIDIA-H100-80GB-HBM3": GPU}, **more,
    }  # fmt: skip
    return place.settings(kubernetes=given, hold_s=5, metrics={"port": 0})


@pytest.fixture
def node(place: Place, authority: Authority) -> Iterator[Admitting]:
    with admitting(settings_of(place, authority)) as made:
        yield made


def api_server(node: Admitting, authority: Authority, *client: Path) -> httpx.Client:
    """A client that trusts the authority alone, and shows the certificate `client` if it is given one."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if client:
        context.load_cert_chain(*client)
    url = f"https://127.0.0.1:{node.servers[0].port}"
    return httpx.Client(base_url=url, verify=context, trust_env=False, timeout=10)


def ask(server: httpx.Client, review: dict[str, Any]) -> tuple[bool, str]:
    """Whether it is allowed, and why not."""
    answer = server.post("/admission/validate", params={"timeout": "10s"}, json=review)
    assert answer.status_code == 200, answer.text
    response = answer.json()["response"]
    assert response["uid"] == review["request"]["uid"]
    return response["allowed"], response.get("status", {}).get("message", "")


def test_pod__of_a_job_in_every_state__allowed_only_while_it_runs(
    node: Admitting, place: Place, authority: Authority
) -> None:
    terms = place.terms()
    job = place.lab.id_of(terms)
    with api_server(node, authority) as server:
        assert "no such job is open" in ask(server, vector("pod_create_dry_run", job))[1]
        place.opened(terms)
        assert "the job is open" in ask(server, vector("pod_create_dry_run", job))[1]
        place.lab.system.send("JobMarket", "accept", terms.to_abi(), sender=place.lab.provider)
        assert place.lab.status(job) is Status.RUNNING
        assert ask(server, vector("pod_create_dry_run", job)) == (True, "")
        assert node.office.book.held(job) is None
        assert ask(server, vector("pod_create", job)) == (True, "")
        place.cancel(terms)
        assert ask(server, vector("pod_create_dry_run", job))[0] is False


def test_pods__sixteen_of_one_job_at_once__one_allowed(
    node: Admitting, place: Place, authority: Authority
) -> None:
    job = place.paid()
    reviews = [vector("pod_create", job) for _ in range(16)]
    for number, review in enumerate(reviews):
        review["request"]["object"]["metadata"]["uid"] = f"uid-{number}"
    with api_server(node, authority) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda review: ask(server, review), reviews))
    assert sorted(allowed for allowed, _ in answers) == [False] * 15 + [True]
    assert all("one job pays for one workload" in said for allowed, said in answers if not allowed)


def test_job__as_wide_as_paid__allowed(node: Admitting, place: Place, authority: Authority) -> None:
    narrow, wide = place.paid(), place.paid(place.terms(resources=2, max_units=HOUR_UNITS))
    with api_server(node, authority) as server:
        assert "2 GPU(s) are asked for, the job allows 1" in ask(server, vector("job_create", narrow))[1]
        assert ask(server, vector("job_create", wide)) == (True, "")
        assert ask(server, vector("job_pod_create", wide)) == (True, "")


def test_pod__chain_away__refused(
    node: Admitting, place: Place, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = place.paid()
    monkeypatch.setattr(node.office.facts.chain.w3.provider, "endpoint_uri", "http://127.0.0.1:9/")
    with api_server(node, authority) as server:
        assert "the chain can't be read now" in ask(server, vector("pod_create", job))[1]


def test_metrics__of_what_was_decided__served_by_plain_http(
    node: Admitting, place: Place, authority: Authority
) -> None:
    with api_server(node, authority) as server:
        ask(server, vector("pod_create", place.paid()))
        ask(server, vector("recorded/pod_create", b"\x07" * 32))
    _, metrics = node.servers
    told = httpx.get(f"http://127.0.0.1:{metrics.port}/metrics", trust_env=False).text
    counted = 'scrip_admission_decisions_total{outcome="%s",system="kubernetes",why="%s"} 1.0'
    assert counted % ("admitted", "") in told
    assert counted % ("denied", "job") in told
    assert 'scrip_admission_held{system="kubernetes"} 1.0' in told


def test_client_ca__client_without_a_certificate__not_heard(place: Place, authority: Authority) -> None:
    settings = settings_of(place, authority, client_ca=authority.file)
    with admitting(settings) as node:
        with api_server(node, authority) as server, pytest.raises(httpx.TransportError):
            server.get("/healthz")
        with api_server(node, authority, *authority.issue("api-server")) as server:
            assert server.get("/healthz").text == "ok"


def test_start__key_of_another_certificate__said(place: Place, authority: Authority) -> None:
    _, wrong = authority.issue("other")
    with pytest.raises(ServerProblem, match=r"other\.key.*must be PEM files"):
        Admitting(settings_of(place, authority, cert_key=wrong))


def test_evictions__command__prints_what_kubectl_is_to_delete(place: Place, authority: Authority) -> None:
    terms = place.terms()
    paid, gone = place.paid(), place.paid(terms)
    place.cancel(terms)
    settings = settings_of(place, authority)
    items = [vector("pod_create", job)["request"]["object"] for job in (paid, gone)]
    items[1]["metadata"] |= {"name": "unpaid", "uid": "another"}
    config = write(settings, place.lab.folder / "node.toml")
    done = subprocess.run(
        [sys.executable, "-m", "scrip.cli.main", "oracle", "evictions", "--config", config],
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "--namespace=team-a pod/unpaid\n"), done.stderr


def write(settings: Settings, path: Path) -> Path:
    """The settings that matter here as a file."""
    asked = settings.admission.kubernetes if settings.admission is not None else None
    assert asked is not None
    (buyer,) = asked.namespaces["team-a"]
    path.write_text(
        f'role = "provider"\nstate_dir = "{settings.state_dir}"\n'
        f'[chain]\nrpc_url = "{settings.chain.rpc_url}"\nchain_id = {settings.chain.chain_id}\n'
        f'deployment = "{settings.chain.deployment}"\n'
        f'[provider]\naddress = "{settings.of_provider().address}"\n'
        f'[admission.kubernetes]\ncert = "{asked.cert}"\ncert_key = "{asked.cert_key}"\n'
        f'namespaces = {{ team-a = ["{buyer}"] }}\n'
    )
    return path
