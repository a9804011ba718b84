"""Puts a node together from its settings: the only place where parts are made and joined."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eth_account.signers.local import LocalAccount

from oracle import measuring, tracing
from oracle.audits.service import AUDIT, Audits
from oracle.ballot_box import BallotBox
from oracle.catalogue import DEFAULT_FILE, Catalogue
from oracle.database import file_of
from oracle.desk import Desk
from oracle.dispatch import PAY, SEND, SETTLE, WORK, Dispatcher
from oracle.evidence import EvidenceStore
from oracle.executors.base import Executor
from oracle.executors.engines import Engines, cluster_gpus, open_engines, require_engines
from oracle.executors.local import LocalExecutor
from oracle.facts import Facts
from oracle.gateway.service import Gateway
from oracle.identity import claim, claim_evidence
from oracle.intake import Policy
from oracle.journal import SqlJournal
from oracle.lead import Lead
from oracle.logging import get
from oracle.meters import boards_of, latest_of, meters_of
from oracle.metrics import Metrics
from oracle.outbox import Outbox, Stopped
from oracle.quorum import Quorum
from oracle.reconcile import Reconciler
from oracle.reports import GpuReports
from oracle.rerun import Rerunner
from oracle.retention import PRUNE, Retention
from oracle.reviews import Reviews
from oracle.sampling import Budget, Draw
from oracle.secret_file import load_secret
from oracle.settings import ProviderSettings, Role, Settings, SettingsProblem
from oracle.settle import Settler
from oracle.state_folder import check_apart, node_name, open_state
from oracle.statements import Statements
from oracle.store import Store
from oracle.tasks import Tasks
from oracle.telemetry.confidential import ConfidentialGpus
from oracle.telemetry.latest import LatestGpus
from oracle.telemetry.nvml import Nvml, NvmlUnavailable, Replay
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.watcher import Watcher
from oracle.worker import Worker
from scrip import deployments, keys
from scrip.chain import Chain
from scrip.errors import ScripError
from scrip.rpc import OnFailure
from scrip.sender import LOCAL_POLICY, Sender, SendPolicy

if TYPE_CHECKING:
    from oracle.x402.shop import Shop

SENDS: Final = 4
SETTLES: Final = 4
PAYING: Final = 4
"""Threads that wait for transactions, for watchers, and for payments; none may hold up the others."""
DRAW_KEY: Final = "draw.key"
"""File in a watcher's state folder: whoever reads it knows which jobs are run again."""

_log = get(__name__)


class NodeProblem(ScripError):
    """The node can't be started as it is set up."""


@dataclass(frozen=True, slots=True)
class Base:
    """What every node has. `account` is None in a dry run; `cleanup` closes what is open."""

    settings: Settings
    chain: Chain
    facts: Facts
    store: Store
    metrics: Metrics
    account: LocalAccount | None
    cleanup: ExitStack

    def close(self) -> None:
        """Close everything and let another node have the state folder."""
        self.cleanup.close()


@dataclass(frozen=True, slots=True)
class ProviderNode:
    """A provider's parts. `stopping` cuts waits short: for transactions, for watchers."""

    base: Base
    lead: Lead
    desk: Desk
    evidence: EvidenceStore
    retention: Retention
    engines: Engines
    worker: Worker
    reconciler: Reconciler
    dispatcher: Dispatcher
    tasks: Tasks
    stopping: threading.Event
    latest: LatestGpus
    quorum: Quorum
    gateway: Gateway | None = None
    shop: Shop | None = None


@dataclass(frozen=True, slots=True)
class WatcherNode:
    """A watcher's parts."""

    base: Base
    watcher: Watcher
    executor: LocalExecutor | None
    tasks: Tasks
    stopping: threading.Event
    audits: Audits | None = None


def open_base(settings: Settings) -> Base:
    """State folder, key, chain and store. Raises StateFolderProblem, KeyProblem, WrongChain, NodeUnavailable,
    NotFound, DatabaseProblem, AnotherOwner.
    """
    with ExitStack() as opened:
        opened.enter_context(open_state(settings.state_dir))
        account = load_key(settings)
        check_database(settings)
        store = Store.open(settings.database_url)
        opened.callback(store.close)
        opened.callback(tracing.configure(settings.role.value))
        opened.callback(measuring.configure(settings.role.value))
        metrics = Metrics(store, settings.state_dir)
        chain = connect(settings, metrics.rpc_failed)
        metrics.dry.set(int(account is None))
        facts = Facts(chain, local=settings.chain.is_local)
        return Base(settings, chain, facts, store, metrics, account, opened.pop_all())


def check_database(settings: Settings) -> None:
    """Raise StateFolderProblem if a provider's database is in another node's state folder."""
    file = file_of(settings.database_url)
    if file is not None and settings.role is Role.PROVIDER:
        check_apart(file, settings.state_dir)


def load_key(settings: Settings) -> LocalAccount | None:
    """The oracle key, None without a keystore. Raises KeyProblem."""
    key = settings.key
    if key.keystore is None:
        return None
    return keys.load(
        key.keystore,
        chain_id=settings.chain.chain_id,
        password_file=key.password_file,
        password_env=key.password_env,
        local_chains=settings.chain.local_chains,
    )


def connect(settings: Settings, on_failure: OnFailure | None = None) -> Chain:
    """The chain, checked to be the one the settings name. Raises NotFound, WrongChain, NodeUnavailable."""
    chosen = settings.chain
    deployment = deployments.load(chosen.deployment, chosen.chain_id)
    return Chain.connect(
        chosen.rpc_url, deployment, timeout=float(chosen.rpc_timeout_s), finality_depth=chosen.depth,
        on_failure=on_failure,
    )  # fmt: skip


def check_registered(chain: Chain, provider: str, account: LocalAccount | None) -> None:
    """Raise NodeProblem unless the registry names our key as the provider's oracle."""
    if account is None:
        return
    registered = chain.at().oracle_of(provider)
    if registered != account.address:
        raise NodeProblem(
            f"the registry names {registered} as oracle key of {provider}, the keystore holds "
            f"{account.address}. Register, or update the registration, first"
        )


def open_nvml(provider: ProviderSettings, *, local: bool) -> Nvml | None:
    """NVML if the node serves GPUs, replayed if that is asked for. Raises NvmlUnavailable,
    SettingsProblem.
    """
    if not provider.simulated_gpu and not provider.gpus:
        return None
    if not provider.simulated_gpu:
        nvml = Nvml.open()
        if nvml.simulated:
            nvml.close()
            raise NvmlUnavailable("the NVML library here is the replay library, and simulated_gpu isn't set")
        return nvml
    if not local:
        raise SettingsProblem(("provider.simulated_gpu: refused, simulated metering is for local chains",))
    trace = provider.gpu_trace or STEADY_TRACE
    _log.warning("GPU metering is SIMULATED: receipts of GPU jobs get assurance 0", trace=str(trace))
    return Nvml.open(Replay(trace))


def served_gpus(provider: ProviderSettings, nvml: Nvml | None) -> ProviderSettings:
    """Settings with the GPUs that are really there: those listed, or all of a simulated set. Raises
    NodeProblem.
    """
    if nvml is None:
        return provider
    present = tuple(gpu.uuid for gpu in nvml.gpus())
    missing = [gpu for gpu in provider.gpus if gpu not in present]
    if missing:
        raise NodeProblem(
            f"provider.gpus: {', '.join(missing)} not found here. NVML sees {', '.join(present) or 'none'}"
        )
    return provider.model_copy(update={"gpus": provider.gpus or present})


def open_provider(settings: Settings) -> ProviderNode:
    """A provider node, ready to run. Raises as `open_base`, BadInput for the catalogue, NvmlUnavailable."""
    base, given = open_base(settings), settings.of_provider()
    with ExitStack() as undo:
        undo.callback(base.close)
        check_registered(base.chain, given.address, base.account)
        claim(base.store, _owner(base) | {"provider": given.address})
        claim_evidence(base.store, settings.evidence_folder)
        nvml = open_nvml(given, local=settings.chain.is_local)
        if nvml is not None:
            base.cleanup.callback(nvml.close)
        policy = Policy(
            provider=served_gpus(given, nvml),
            catalogue=Catalogue.load(given.catalogue or DEFAULT_FILE),
            key=None if base.account is None else base.account.address,
            watchers=len(settings.quorum.watchers),
            simulated=nvml is not None and nvml.simulated,
            attests=_attests(nvml),
            cluster_gpus=cluster_gpus(settings),
        )
        base.metrics.simulated.set(int(policy.simulated))
        measuring.gpus(nvml, policy.provider.gpus)
        node = _join_provider(base, policy, nvml)
        undo.pop_all()
        return node


def _join_provider(base: Base, policy: Policy, nvml: Nvml | None) -> ProviderNode:
    settings, store, facts, account = base.settings, base.store, base.facts, base.account
    lead = Lead(store, node_name(settings.state_dir), settings.database.lease_s)
    base.cleanup.callback(lead.release)
    require_engines(settings, {template.engine for template in policy.catalogue})
    engines, boards = open_engines(settings), boards_of(nvml, policy.provider)
    latest = latest_of(nvml, policy.provider)
    for gpu, board in boards.items():
        base.metrics.unattributed.labels(gpu).set_function(partial(getattr, board, "unattributed_mj"))
    evidence = EvidenceStore(settings.evidence_folder)
    stopping = threading.Event()
    retention = Retention(store, facts, evidence, settings.evidence, base.metrics, stopping)
    desk = Desk(store, facts, policy, account, base.metrics, retention.room)
    collect = ConfidentialGpus(nvml).collect if nvml is not None and policy.attests else None
    worker = Worker(
        store=store, facts=facts, desk=desk, engines=engines, evidence=evidence, metrics=base.metrics,
        meters=meters_of(nvml, boards, base.metrics, latest), reports=GpuReports(facts, policy.key, collect),
        workroot=settings.state_dir.resolve() / "work",
    )  # fmt: skip
    outbox = Outbox(base.chain, SqlJournal(store), _sender(base, stopping))
    reconciler = Reconciler(
        store, facts, policy.provider.address, base.metrics, outstanding=outbox.outstanding,
        ended=worker.abort,
    )  # fmt: skip
    quorum = Quorum(settings.quorum, facts, store, stopping)
    settler = Settler(
        store=store, facts=facts, outbox=outbox, quorum=quorum, evidence=evidence, signer=account,
        settings=settings, decided=reconciler.reconcile_jobs,
    )  # fmt: skip
    pools = {WORK: policy.provider.slots, SEND: SENDS, SETTLE: SETTLES, PRUNE: 1, PAY: PAYING}
    tasks = Tasks(base.metrics, pools)
    dispatcher = Dispatcher(
        store=store, facts=facts, desk=desk, worker=worker, settler=settler, outbox=outbox, tasks=tasks,
        reconcile_jobs=reconciler.reconcile_jobs, dry=account is None,
    )  # fmt: skip
    gateway = None if settings.gateway is None else Gateway.of(
        settings.gateway, settings, store=store, facts=facts, outbox=outbox, signer=account,
        metrics=base.metrics,
    )  # fmt: skip
    if gateway is not None:
        base.cleanup.callback(gateway.end)  # before the lead is handed back
    shop = _open_shop(base, desk, outbox, tasks, gateway, stopping)
    return ProviderNode(
        base, lead, desk, evidence, retention, engines, worker, reconciler, dispatcher, tasks, stopping,
        latest, quorum, gateway, shop,
    )  # fmt: skip


def _open_shop(
    base: Base, desk: Desk, outbox: Outbox, tasks: Tasks, gateway: Gateway | None, stopping: threading.Event
) -> Shop | None:
    """What is paid for by x402, None unless the settings say so. Raises NodeProblem without the SDK."""
    rules = base.settings.x402
    if rules is None:
        return None
    if importlib.util.find_spec("x402") is None:
        raise NodeProblem("[x402] is set, but the SDK isn't installed. Install scrip[oracle,x402]")
    from oracle.x402.assemble import open_shop

    account = None if base.account is None else base.account.address
    accounts = None if gateway is None else gateway.accounts
    return open_shop(
        base.settings, rules, base.store, base.facts, desk, outbox, tasks, account, accounts, stopping
    )


def open_watcher(settings: Settings) -> WatcherNode:
    """A watcher node, ready to run. Raises as `open_base`, BadInput for the catalogue."""
    base, workroot = open_base(settings), settings.state_dir.resolve() / "work"
    with ExitStack() as undo:
        undo.callback(base.close)
        claim(base.store, _owner(base) | ({} if base.account is None else {"watcher": base.account.address}))
        given = settings.watcher
        executor = LocalExecutor(packages=given.packages) if given.re_execute else None
        shutil.rmtree(workroot, ignore_errors=True)  # of an earlier process: its jobs ended with it
        place = base.chain.chain_id, base.facts.verifier
        watcher = Watcher(
            facts=base.facts,
            reviews=Reviews(base.store),
            box=BallotBox(base.store, *place),
            statements=Statements(base.store, *place),
            catalogue=Catalogue.load(settings.watcher.catalogue or DEFAULT_FILE),
            rerunner=None if executor is None else rerunner(settings, executor, workroot),
            account=base.account,
            settings=settings.watcher,
            metrics=base.metrics,
        )
        stopping = threading.Event()
        audits = None if settings.audits is None else Audits.of(
            settings.audits, facts=base.facts, store=base.store, account=base.account,
            secret=load_secret(settings.state_dir / DRAW_KEY),
            outbox=Outbox(base.chain, SqlJournal(base.store), _sender(base, stopping)),
        )  # fmt: skip
        undo.pop_all()
        return WatcherNode(base, watcher, executor, Tasks(base.metrics, {AUDIT: 1}), stopping, audits)


def _owner(base: Base) -> dict[str, str]:
    """What nodes on one database have in common."""
    return {"role": base.settings.role.value, "chain": str(base.chain.chain_id), "market": base.facts.market}


def _attests(nvml: Nvml | None) -> bool:
    """Whether the GPUs sign reports, so that assurance 3 is within reach."""
    if nvml is None:
        return False
    why = ConfidentialGpus(nvml).unready()
    _log.info("GPU reports", attests=not why, reason=why)
    return not why


def rerunner(settings: Settings, executor: Executor, workroot: Path) -> Rerunner:
    """What runs jobs again on a watcher. Raises SecretProblem."""
    rules = settings.watcher
    draw = Draw(load_secret(settings.state_dir / DRAW_KEY), rules.re_execute_floor_ppm)
    return Rerunner(executor, draw, Budget(rules.re_execute_s_per_hour), workroot, rules.slots)


def _sender(base: Base, stopping: threading.Event) -> Sender | None:
    if base.account is None:
        return None

    def sleep(seconds: float) -> None:
        if stopping.wait(seconds):
            raise Stopped

    policy = LOCAL_POLICY if base.settings.chain.is_local else SendPolicy()
    return Sender(base.chain, base.account, SqlJournal(base.store), policy, sleep=sleep)
