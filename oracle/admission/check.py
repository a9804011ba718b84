"""What `scrip oracle check` says of admission: could orchestrators ask, and do they ask this node?"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from cryptography import x509

from oracle.executors.base import ExecutorError
from oracle.executors.slurm import run
from oracle.findings import Finding, Mark, guard
from oracle.settings import Settings
from oracle.settings_admission import KubernetesAdmission, SlurmAdmission

RENEW_S: Final = 14 * 86_400
"""A certificate that ends sooner is due for renewal."""
_OTHERS: Final = 0o007
_SCRIPTS: Final = ("job_submit.lua", "scrip_admission.sh")
_CONF: Final = "scrip_admission.conf"


def findings(settings: Settings) -> Iterator[Finding]:
    """A finding for each thing that admission needs; none where it isn't set."""
    given = settings.admission
    if given is None:
        return
    if given.kubernetes is not None:
        asked = given.kubernetes
        yield guard("webhook certificate", lambda: _certificate(asked))
        if asked.client_ca is not None:
            ca = asked.client_ca
            yield guard("webhook client CA", lambda: _lasting(_certificates(ca)))
        yield guard("webhook port", lambda: _port(asked.host, asked.port))
        yield guard("webhook namespaces", lambda: _namespaces(asked))
    if given.slurm is not None:
        slurm = given.slurm
        conf = None if settings.slurm is None else settings.slurm.conf
        yield guard("Slurm socket", lambda: _socket(slurm.socket))
        yield guard("Slurm filter", lambda: _filter(slurm, conf))
    if given.metrics is not None:
        at = given.metrics
        yield guard("admission metrics", lambda: _port(at.host, at.port))


def _certificate(given: KubernetesAdmission) -> tuple[Mark, str]:
    found = _certificates(given.cert)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(given.cert, given.cert_key)
    except ssl.SSLError as error:
        return Mark.FAIL, f"{given.cert_key} isn't the key of {given.cert}, as PEM: {error.reason}"
    mode = given.cert_key.stat().st_mode & 0o777
    if mode & _OTHERS:
        return Mark.WARN, f"{given.cert_key} has mode {mode:o}: every user can read it. chmod 600"
    return _lasting(found)


def _certificates(path: Path) -> Sequence[x509.Certificate]:
    """The certificates of a PEM file, ours first. Raises ExecutorError for a file that has none, OSError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise ExecutorError(f"{path} holds no PEM certificate: {error}") from error


def _lasting(found: Sequence[x509.Certificate]) -> tuple[Mark, str]:
    """Until when all of them hold, and the names of the first."""
    now = time.time()
    start = max(one.not_valid_before_utc for one in found)
    end = min(one.not_valid_after_utc for one in found)
    if start.timestamp() > now:
        return Mark.FAIL, f"not valid before {start:%Y-%m-%d %H:%M} UTC: issue another, or set the clock"
    if end.timestamp() <= now:
        return Mark.FAIL, f"expired {end:%Y-%m-%d %H:%M} UTC: renew it, then restart scrip oracle admit"
    detail = f"{_names(found[0])}, until {end:%Y-%m-%d %H:%M} UTC"
    if end.timestamp() <= now + RENEW_S:
        return Mark.WARN, f"{detail}: renew it, then restart scrip oracle admit"
    return Mark.OK, detail


def _names(certificate: x509.Certificate) -> str:
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string()
    return ", ".join(str(one.value) for one in held)


def _port(host: str, port: int) -> tuple[Mark, str]:
    if port == 0:
        return Mark.WARN, "0 takes another free one at each start. Choose one"
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Mark.FAIL, f"{host}:{port}: {error.strerror}. Choose another"
        return Mark.WARN, f"{host}:{port} is in use. Fine if by scrip oracle admit; else choose another"
    return Mark.OK, f"{host}:{port} is free"


def _namespaces(given: KubernetesAdmission) -> tuple[Mark, str]:
    if not given.namespaces:
        return Mark.WARN, "none is listed, so nothing is admitted: set admission.kubernetes.namespaces"
    return Mark.OK, ", ".join(f"{name} ({len(payers)})" for name, payers in sorted(given.namespaces.items()))


def _socket(path: Path) -> tuple[Mark, str]:
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Mark.FAIL, f"{folder} isn't a folder that we may write: install -d -o scrip -g slurm -m 2750"
    if folder.stat().st_mode & 0o002:
        return Mark.FAIL, f"{folder} is writable for every user, who could answer in our place. chmod o-w"
    if path.exists() and not path.is_socket():
        return Mark.FAIL, f"{path} is there and is no socket. Remove it, or choose another"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return Mark.OK, f"{path}, nothing listens yet"
    return Mark.OK, f"{path} answers: scrip oracle admit runs"


def _filter(given: SlurmAdmission, conf: Path | None) -> tuple[Mark, str]:
    """Whether slurmctld asks, with our scripts, at our socket, about our partitions."""
    said = dict(re.findall(r"^(\w+) *= *(.*?) *$", run(["scontrol", "show", "config"], conf), re.MULTILINE))
    if "lua" not in said.get("JobSubmitPlugins", "").split(","):
        return Mark.FAIL, "slurm.conf doesn't ask: set JobSubmitPlugins=lua, then scontrol reconfigure"
    for name in ("PrologSlurmctld", "EpilogSlurmctld"):
        if _SCRIPTS[1] not in said.get(name, ""):
            return Mark.FAIL, f"slurm.conf: {name} must be scrip_admission.sh (docs/admission.md)"
    for name in given.partitions:
        run(["scontrol", "show", "partition", name], conf)  # raises for one that Slurm doesn't know
    folder = Path(said.get("SLURM_CONF", "")).parent
    return _installed(folder, given)


def _installed(folder: Path, given: SlurmAdmission) -> tuple[Mark, str]:
    told = dict(line.split("=", 1) for line in (folder / _CONF).read_text().splitlines() if "=" in line)
    if told.get("socket") != str(given.socket):
        return Mark.FAIL, f"{folder / _CONF} asks at {told.get('socket')}, we listen at {given.socket}"
    unguarded = set(given.partitions) - set(told.get("partitions", "").replace(",", " ").split())
    if unguarded:
        return Mark.FAIL, f"{folder / _CONF} leaves out {', '.join(sorted(unguarded))}: it isn't guarded"
    if not os.access(folder / _SCRIPTS[1], os.X_OK):
        return Mark.FAIL, f"{folder / _SCRIPTS[1]} can't be run. chmod 755"
    ours = files("oracle") / "deploy" / "slurm"
    other = [name for name in _SCRIPTS if (folder / name).read_text() != (ours / name).read_text()]
    if other:
        return (
            Mark.WARN,
            f"{', '.join(other)} in {folder} isn't this release's: copy it, or mind the difference",
        )
    return Mark.OK, f"{folder} guards {', '.join(given.partitions)}"
