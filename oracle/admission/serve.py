"""The process that orchestrators ask: `scrip oracle admit`. It needs no key and signs nothing.

It runs beside the provider's daemon, on the same store or on its own, so that neither holds up the other.
"""

from __future__ import annotations

import json
import signal
import ssl
import threading
from contextlib import ExitStack
from typing import Any, Final

from oracle.admission.api import kubernetes_app, metrics_app, slurm_app
from oracle.admission.keeper import Keeper
from oracle.admission.kubernetes import Listed, Webhook
from oracle.admission.office import Office
from oracle.admission.slurm import SlurmCluster, Terms
from oracle.facts import Facts
from oracle.identity import claim
from oracle.logging import get
from oracle.server import Server, ServerProblem
from oracle.settings import Settings, SettingsProblem
from oracle.settings_admission import AdmissionSettings, KubernetesAdmission
from oracle.store import Store
from scrip import deployments
from scrip.chain import Chain
from scrip.errors import BadInput

_ATTEMPTS: Final = 2

_log = get(__name__)


class Admitting:
    """Servers and keeper of one provider's admissions."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsProblem, DatabaseProblem, NotFound, WrongChain, NodeUnavailable."""
        given, provider = _given(settings), settings.of_provider()
        self._every_s, self._stop = settings.reconcile_s, threading.Event()
        with ExitStack() as opened:
            store = Store.open(settings.database_url)
            opened.callback(store.close)
            self.office = office_of(settings, store)
            self.servers: list[Server] = []
            self.keepers: list[Keeper] = []
            if given.slurm is not None:
                path = given.slurm.socket
                self.servers.append(Server(slurm_app(self.office, Terms(settings)), "", 0, path=path))
                self.keepers.append(Keeper(self.office, SlurmCluster(settings), given.hold_s))
            if given.kubernetes is not None:
                asked = given.kubernetes
                webhook = Webhook(self.office, asked, provider.gpu_sku, provider.cpu_sku)
                self.servers.append(Server(kubernetes_app(webhook), asked.host, asked.port, **_tls(asked)))
            if given.metrics is not None:
                app = metrics_app(self.office.metrics)
                self.servers.append(Server(app, given.metrics.host, given.metrics.port))
            self._cleanup = opened.pop_all()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, comparing workloads with the chain every `reconcile_s`."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stop.set())
        with self._cleanup as cleanup:
            for server in self.servers:
                server.start()
                cleanup.callback(server.stop)
            while not self._stop.is_set():
                for keeper in self.keepers:
                    keeper.quietly()
                self._stop.wait(self._every_s)
        return 0

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()


def evictions(settings: Settings, listed: str) -> list[str]:
    """Bring admissions in step with what `kubectl get pods,jobs -o json` printed. Returns a line for each
    workload to end, the arguments of `kubectl delete`. Raises BadInput, and as `Admitting`.
    """
    given = _given(settings)
    if given.kubernetes is None:
        raise SettingsProblem(
            ("admission.kubernetes: missing, it says which namespaces are under admission",)
        )
    try:
        cluster = Listed(json.loads(listed)["items"], given.kubernetes)
    except (ValueError, KeyError, TypeError) as error:
        what = "what `kubectl get pods,jobs -o json` prints"
        raise BadInput("stdin", listed[:40], what, f"{type(error).__name__}: {error}") from error
    store = Store.open(settings.database_url)
    try:
        Keeper(office_of(settings, store), cluster, given.hold_s)()
    finally:
        store.close()
    return [line + "\n" for line in cluster.doomed]


def office_of(settings: Settings, store: Store) -> Office:
    """Admissions on the chain that the settings name, as far as it is final. Raises NotFound, WrongChain,
    NodeUnavailable, AnotherOwner.
    """
    chosen, provider = settings.chain, settings.of_provider().address
    deployment = deployments.load(chosen.deployment, chosen.chain_id)
    chain = Chain.connect(
        chosen.rpc_url, deployment, timeout=float(_given(settings).rpc_timeout_s), attempts=_ATTEMPTS,
        finality_depth=chosen.depth,
    )  # fmt: skip
    facts = Facts(chain, local=chosen.is_local)
    owner = {"role": settings.role.value, "chain": str(chain.chain_id), "market": facts.market}
    claim(store, owner | {"provider": provider})
    return Office(facts, store, provider)


def _given(settings: Settings) -> AdmissionSettings:
    if settings.admission is None:
        raise SettingsProblem(("admission: missing, it says which orchestrators ask (docs/admission.md)",))
    return settings.admission


def _tls(given: KubernetesAdmission) -> dict[str, Any]:
    """uvicorn's options. Raises ServerProblem for files that are no certificate and key."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(given.cert, given.cert_key)
    except OSError as error:  # an ssl.SSLError is one
        raise ServerProblem(f"{given.cert}, {given.cert_key}: {error}. They must be PEM files") from error
    options: dict[str, Any] = {"ssl_certfile": given.cert, "ssl_keyfile": given.cert_key}
    if given.client_ca is not None:
        options |= {"ssl_ca_certs": given.client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options
