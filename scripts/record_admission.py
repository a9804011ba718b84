"""Record the AdmissionReviews that a real API server sends (tests/vectors/admission/recorded).

    python -m scripts.record_admission BINARIES OUT

BINARIES is a folder with etcd, kube-apiserver and kube-controller-manager, which no test has; the README by
the recordings says how they were made. kubectl is taken from the PATH. All listen on 127.0.0.1 and end here.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from demo.processes import free_ports

ROOT: Final = Path(__file__).resolve().parents[1]
SCENES: Final = ROOT / "tests" / "vectors" / "admission" / "scenes.yaml"
PROGRAMS: Final = ("etcd", "kube-apiserver", "kube-controller-manager")
START_S: Final = 60.0
TOKEN: Final = "recording"  # noqa: S105 (of a cluster that ends with this program)
AS: Final = ("--as=ada@example.org", "--as-group=team-a:developers", "--as-group=system:authenticated")

Review = dict[str, Any]


class Recorder(ThreadingHTTPServer):
    """A webhook that admits everything and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cert, key = _certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.heard: list[Review] = []

    def configuration(self) -> dict[str, Any]:
        """Ours (oracle/deploy/kubernetes/webhook.yaml), which asks here, and about more than ours does."""
        made: dict[str, Any] = yaml.safe_load(
            (ROOT / "oracle" / "deploy" / "kubernetes" / "webhook.yaml").read_text()
        )
        (hook,) = made["webhooks"]
        hook["clientConfig"] = {
            "url": f"https://127.0.0.1:{self.server_port}/admission/validate",
            "caBundle": base64.b64encode(self.cert.read_bytes()).decode(),
        }
        every = {"apiVersions": ["v1"], "operations": ["*"], "scope": "Namespaced"}
        hook["rules"] = [
            {"apiGroups": [""], "resources": ["pods", "pods/ephemeralcontainers", "pods/exec"]} | every,
            {"apiGroups": ["batch"], "resources": ["jobs"]} | every,
            {"apiGroups": ["apps"], "resources": ["deployments"]} | every,
        ]
        return made


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        """Keep the review, allow it."""
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append(review)
        response = {"uid": review["request"]["uid"], "allowed": True}
        body = json.dumps({k: review[k] for k in ("apiVersion", "kind")} | {"response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "recorder")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "recorder.crt", folder / "recorder.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(_pem(key))
    return files


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


class Cluster:
    """An API server with its controllers; no node, so pods stay pending."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        etcd, peer, self._port, manager = free_ports(4)
        self._config = folder / "kubeconfig"
        signing = folder / "sa.key"
        signing.write_bytes(_pem(rsa.generate_private_key(public_exponent=65_537, key_size=2_048)))
        (folder / "tokens").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self._config.write_text(_kubeconfig(self._port))
        store = f"http://127.0.0.1:{etcd}"
        self._commands = {
            "etcd": [
                f"--data-dir={folder}/etcd", f"--listen-client-urls={store}",
                f"--advertise-client-urls={store}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
            ],
            "kube-apiserver": [
                f"--etcd-servers={store}", f"--secure-port={self._port}", "--bind-address=127.0.0.1",
                f"--cert-dir={folder}/certs", f"--token-auth-file={folder}/tokens",
                "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={signing}", f"--service-account-key-file={signing}",
                "--service-cluster-ip-range=10.0.0.0/24", "--feature-gates=EphemeralContainers=true",
            ],
            "kube-controller-manager": [
                f"--kubeconfig={self._config}", f"--service-account-private-key-file={signing}",
                f"--cert-dir={folder}/certs", f"--secure-port={manager}", "--bind-address=127.0.0.1",
                "--port=0", "--leader-elect=false", "--use-service-account-credentials=true",
                "--controllers=serviceaccount,serviceaccount-token,clusterrole-aggregation,deployment,replicaset,job",
            ],
        }  # fmt: skip

    @contextmanager
    def running(self) -> Iterator[None]:
        """Between its start and its end."""
        with ExitStack() as ending:
            for name, options in self._commands.items():
                with (self._folder / f"{name}.log").open("wb") as log:
                    process = subprocess.Popen([str(self._binaries / name), *options], stdout=log, stderr=log)
                ending.callback(process.wait)
                ending.callback(process.terminate)
            until(lambda: self.ask("get", "--raw=/readyz").stdout == "ok", "the API server")
            yield

    def ask(self, *words: str, given: Any = None) -> subprocess.CompletedProcess[str]:
        """What kubectl says; `given` is for its standard input."""
        command = ["kubectl", f"--kubeconfig={self._config}", f"--cache-dir={self._folder}/cache", *words]
        text = None if given is None else json.dumps(given)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


def _kubeconfig(port: int) -> str:
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": server}], "users": [{"name": "it", "user": {"token": TOKEN}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": "team-a"}}],
    })  # fmt: skip


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until it holds. Exits after START_S."""
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {START_S} s for {what} in vain")
        time.sleep(0.2)


def play(cluster: Cluster, recorder: Recorder, out: Path) -> None:
    """Do what each scene says, and write the review that it caused."""
    for scene in yaml.safe_load(SCENES.read_text())["scenes"]:
        before = len(recorder.heard)
        user = AS if scene.get("as_user", True) else ()
        done = cluster.ask(*user, *scene["kubectl"], given=scene.get("given"))
        for name, wanted in scene["records"].items():
            review = _heard(recorder, before, wanted, f"{name}: {done.stdout}{done.stderr}")
            (out / f"{name}.json").write_text(json.dumps(review, indent=2) + "\n")
            print(name, _key(review))


def _heard(recorder: Recorder, since: int, wanted: dict[str, Any], what: str) -> Review:
    """The first review like this."""
    found: list[Review] = []

    def look() -> bool:
        found[:] = [one for one in recorder.heard[since:] if wanted.items() <= _key(one).items()]
        return bool(found)

    until(look, what)
    return found[0]


def _key(review: Review) -> dict[str, Any]:
    request = review["request"]
    return {
        "operation": request["operation"], "resource": request["resource"]["resource"],
        "sub": request.get("subResource", ""), "dry": request["dryRun"],
    }  # fmt: skip


def prepare(cluster: Cluster, recorder: Recorder) -> None:
    """A namespace that wants paid workloads, somebody who may make them, and the recorder as the webhook."""
    labels = {"name": "team-a", "labels": {"scrip.dev/admission": "paid"}}
    cluster.ask("create", "-f-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": labels})
    cluster.ask("create", "rolebinding", "developers", "--clusterrole=admin", "--group=team-a:developers")
    until(lambda: not cluster.ask("get", "serviceaccount", "default").returncode, "the default account")
    may = ("auth", "can-i", "create", "pods", *AS)
    until(lambda: cluster.ask(*may).stdout.startswith("yes"), "the user's rights")
    until(lambda: "default-token" in cluster.ask("get", "secrets").stdout, "its token")
    cluster.ask("create", "-f-", given=recorder.configuration())
    probe = ("run", "probe", "--image=none", "--dry-run=server")
    until(lambda: not cluster.ask(*probe).returncode and recorder.heard, "the first review")


def record(binaries: Path, out: Path) -> None:
    """Record all scenes."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scrip-kubernetes-") as made:
        folder = Path(made)
        cluster, recorder = Cluster(binaries, folder), Recorder(folder)
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        with cluster.running():
            prepare(cluster, recorder)
            play(cluster, recorder, out)
            print(cluster.ask("version").stdout, file=sys.stderr)
        recorder.shutdown()


def main() -> int:
    """Record, if everything is there."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.record_admission",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("binaries", type=Path, help=f"folder with {', '.join(PROGRAMS)}")
    parser.add_argument("out", type=Path, help="folder that the recordings go to")
    given = parser.parse_args()
    missing = [name for name in PROGRAMS if not shutil.which(name, path=given.binaries)]
    if not shutil.which("kubectl"):
        missing.append("kubectl, on the PATH")
    if missing:
        print(
            f"{given.binaries}: missing {', '.join(missing)}: see tests/vectors/admission/README.md",
            file=sys.stderr,
        )
        return 2
    os.umask(0o077)
    record(given.binaries, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
