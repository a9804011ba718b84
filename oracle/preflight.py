"""`scrip oracle check`: is everything there that the node needs? Says in plain words what is wrong and
what to do.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import httpx

from oracle import node
from oracle.admission.check import findings as admission_findings
from oracle.catalogue import DEFAULT_FILE, Catalogue
from oracle.database import probe
from oracle.executors.engines import clusters, require_engines
from oracle.executors.local import LocalExecutor
from oracle.facts import Facts
from oracle.fetch import origin
from oracle.findings import Finding, Mark, guard
from oracle.settings import Role, Settings
from oracle.telemetry.nvml.sku import fits
from scrip.abi import names as abi_names
from scrip.chain import Chain
from scrip.errors import NotFound, ScripError
from scrip.types import ProviderInfo

FREE_BYTES: Final = 1 << 30
SKEW_S: Final = 30
WATCHER_S: Final = 5.0
GAS_FOR: Final = 1_000_000
"""Gas that the key should be able to pay for at present fees: a few settlements."""


def check(settings: Settings) -> list[Finding]:
    """Every finding, in the order of what depends on what. Never raises for what it checks; sends nothing."""
    findings = [guard("key", lambda: _key(settings)), guard("state folder", lambda: _disk(settings))]
    findings.append(guard("database", lambda: _database(settings)))
    findings += list(admission_findings(settings))
    try:
        chain = node.connect(settings)
    except ScripError as error:
        findings.append(Finding("chain", Mark.FAIL, str(error)))
        return findings
    findings.append(
        Finding(
            "chain",
            Mark.OK,
            f"id {chain.chain_id}, block {chain.head()}, finality depth {chain.finality_depth}",
        )
    )
    findings.append(guard("contracts", lambda: _contracts(chain)))
    findings.append(guard("clock", lambda: _clock(settings, chain)))
    findings.append(guard("confinement", _confinement))
    if settings.role is Role.PROVIDER:
        findings += list(_provider(settings, chain))
    return findings


def _key(settings: Settings) -> tuple[Mark, str]:
    account = node.load_key(settings)
    if account is None:
        return Mark.WARN, "no keystore is set: the node runs dry, it signs and sends nothing"
    return Mark.OK, f"signs as {account.address}"


def _database(settings: Settings) -> tuple[Mark, str]:
    node.check_database(settings)
    return Mark.OK, probe(settings.database_url)


def _disk(settings: Settings) -> tuple[Mark, str]:
    folder = settings.state_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        return Mark.WARN, f"{folder} has mode {mode:o}: others can read it. chmod 700"
    free = shutil.disk_usage(folder).free
    detail = f"{folder}, {free >> 20} MiB free"
    return (
        (Mark.OK, detail) if free >= FREE_BYTES else (Mark.WARN, f"{detail}: evidence needs room, free some")
    )


def _contracts(chain: Chain) -> tuple[Mark, str]:
    for name in sorted(chain.deployment.contracts):
        unknown = chain.unknown_to_code(name) if name in abi_names() else []
        if unknown:
            return (
                Mark.FAIL,
                f"{name} at {chain.address(name)} doesn't know {unknown[0]}: it is another contract, "
                "or version. Use this chain's deployment file, and the release that goes with it",
            )
    count = len(chain.at().class_ids())
    return Mark.OK, f"JobMarket {chain.address('JobMarket')}, {count} class(es)"


def _clock(settings: Settings, chain: Chain) -> tuple[Mark, str]:
    facts = Facts(chain, local=settings.chain.is_local)
    most = SKEW_S if settings.provider is None else settings.provider.max_clock_skew_s
    skew = facts.now() - time.time_ns() // 1_000_000_000
    if abs(skew) <= most:
        return Mark.OK, f"{abs(skew)} s from the chain's"
    side = "ahead of" if skew < 0 else "behind"
    return Mark.WARN, f"this machine's clock is {abs(skew)} s {side} the chain's. Set it by NTP"


def _confinement() -> tuple[Mark, str]:
    found = LocalExecutor().confinement
    if found == "bubblewrap":
        return Mark.OK, "bubblewrap"
    return Mark.WARN, "resource limits only: a job could read this user's files. Install bubblewrap"


def _provider(settings: Settings, chain: Chain) -> Iterator[Finding]:
    offer = settings.of_provider()
    yield guard("catalogue", lambda: _catalogue(settings))
    yield guard("GPU metering", lambda: _gpu(settings))
    if offer.kubelet_socket is not None:
        yield guard("pods", lambda: _pods(settings))
    for name, cluster in clusters(settings).items():
        yield guard(name, lambda cluster=cluster: (Mark.OK, cluster.check()))  # type: ignore[misc]
    with suppress(ScripError):  # its own finding says so already
        account = node.load_key(settings)
        if account is not None:
            yield guard("gas", lambda: _gas(chain, account.address))
    try:
        record = chain.at().provider(offer.address)
    except NotFound as error:
        yield Finding("registration", Mark.FAIL, f"{error}. Register the provider first")
        return
    yield guard("registration", lambda: _registration(settings, chain, record))
    yield guard("URI", lambda: _uri(settings, record))
    yield guard("stake", lambda: _stake(record))
    yield guard("classes", lambda: _classes(settings, chain))
    if settings.quorum.watchers:
        yield guard("watchers", lambda: _watchers(settings))


def _catalogue(settings: Settings) -> tuple[Mark, str]:
    catalogue = Catalogue.load(settings.of_provider().catalogue or DEFAULT_FILE)
    require_engines(settings, {template.engine for template in catalogue})
    return Mark.OK, ", ".join(template.name for template in catalogue)


def _gpu(settings: Settings) -> tuple[Mark, str]:
    offer = settings.of_provider()
    nvml = node.open_nvml(offer, local=settings.chain.is_local)
    if nvml is None:
        return Mark.OK, "not used: no GPU is set"
    with nvml:
        served = node.served_gpus(offer, nvml).gpus
        if not offer.gpu_sku:
            return Mark.WARN, f"{len(served)} GPU(s), but gpu_sku isn't set: no GPU class can be served"
        if nvml.simulated:
            return Mark.WARN, f"SIMULATED, {len(served)} GPU(s): receipts get assurance 0"
        for gpu in nvml.gpus():
            if gpu.uuid in served and not fits(offer.gpu_sku, gpu):
                return Mark.WARN, f"sold as {offer.gpu_sku}, but {gpu.uuid} says it is a {gpu.name}"
        return Mark.OK, f"{len(served)} GPU(s) as {offer.gpu_sku}, driver {nvml.driver}"


def _pods(settings: Settings) -> tuple[Mark, str]:
    """A GPU that the kubelet gave to another pod must not be sold here too."""
    offer = settings.of_provider()
    try:
        from oracle.telemetry import kubernetes
    except ImportError:
        return Mark.FAIL, "kubelet_socket is set: install the extra kubernetes (grpcio, protobuf)"
    ours = kubernetes.pod_of(os.getpid())
    us = None if ours is None else kubernetes.pod_uids().get(ours.uid)
    holders = kubernetes.gpu_holders(offer.kubelet_socket or kubernetes.SOCKET)
    others = [
        f"{gpu} by {container}"
        for gpu in offer.gpus
        for container in holders.get(gpu, ())
        if (container.namespace, container.pod) != us
    ]
    if others:
        return Mark.FAIL, f"held by other pods: {', '.join(others)}. Don't offer these GPUs"
    return Mark.OK, f"no other pod holds any of {len(offer.gpus)} GPU(s)"


def _gas(chain: Chain, address: str) -> tuple[Mark, str]:
    wei, price = chain.balance(address), chain.base_fee() + chain.suggested_tip()
    if wei == 0:
        return Mark.FAIL, f"{address} holds no coins: it can't send. Fund it"
    few = wei < GAS_FOR * price
    return (Mark.WARN if few else Mark.OK), f"{wei} wei, enough for {wei // max(1, price)} gas"


def _registration(settings: Settings, chain: Chain, record: ProviderInfo) -> tuple[Mark, str]:
    account = node.load_key(settings)
    node.check_registered(chain, record.address, account)
    return Mark.OK, f"oracle key {record.oracle}" + (", not compared: dry run" if account is None else "")


def _uri(settings: Settings, record: ProviderInfo) -> tuple[Mark, str]:
    ours, theirs = origin(settings.api.public_url), origin(record.uri)
    if ours == theirs:
        return Mark.OK, record.uri
    return (
        Mark.FAIL,
        f"registered at {theirs or record.uri!r}, api.public_url is {ours}: watchers refuse our evidence",
    )


def _stake(record: ProviderInfo) -> tuple[Mark, str]:
    return (Mark.OK if record.stake else Mark.WARN), f"{record.stake} base units" + (
        "" if record.stake else ": none"
    )


def _classes(settings: Settings, chain: Chain) -> tuple[Mark, str]:
    offer, view = settings.of_provider(), chain.at()
    wanted = offer.classes or tuple(view.class_ids())
    served = [class_id for class_id in wanted if view.can_serve(offer.address, class_id)]
    missing = sorted(set(offer.classes) - set(served))
    if missing:
        return Mark.FAIL, f"can't serve class(es) {missing}: check SKUs, region and the class's provider list"
    if not served:
        return Mark.WARN, "no class can be served: register the SKUs of a class"
    return Mark.OK, f"serves {served}"


def _watchers(settings: Settings) -> tuple[Mark, str]:
    away = [url for url in settings.quorum.watchers if not _is_ready(url)]
    count = len(settings.quorum.watchers)
    if away:
        return Mark.WARN, f"{len(away)} of {count} not ready: {', '.join(away)}. Without a quorum jobs wait"
    return Mark.OK, f"{count} ready"


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=WATCHER_S).is_success
    except httpx.HTTPError:
        return False
