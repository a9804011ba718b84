"""The loop of a node: look at the chain, start what comes next, wait, again.

A passing failure (the node of the chain is away, the disk is full) is logged and tried again after a growing
pause. Anything unexpected ends the process with one line that says what; the store then holds all that is
needed to go on. The first SIGTERM or SIGINT lets running steps finish, the second ends the process at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Protocol

from starlette.types import ASGIApp

from oracle.api import ProviderParts, provider_app
from oracle.api_watcher import WatcherParts, watcher_app
from oracle.audits.service import AUDIT
from oracle.dispatch import WORK
from oracle.health import Probe, Pulse
from oracle.logging import get
from oracle.node import Base, ProviderNode, WatcherNode, check_database, open_provider, open_watcher
from oracle.operator.site import open_site
from oracle.retention import PRUNE
from oracle.room import check_room
from oracle.server import Server, ServerProblem
from oracle.settings import Role, Settings
from oracle.states import ACTIVE, State
from oracle.store import StateConflict
from oracle.tasks import Tasks, is_passing, pause_s
from scrip.chain import Chain
from scrip.rpc import make_web3

EXIT_OK: Final = 0
EXIT_FORCED: Final = 130
QUIET_CYCLES: Final = 2
PROBE_S: Final = 3.0
"""How long a probe waits for the node of the chain."""
LEAST_S: Final = 0.02
"""Least time between two passes: what ends meanwhile is looked at together."""
PRUNE_EVERY_S: Final = 600.0
SWITCH_S: Final = 0.0005
"""How long a thread that computes keeps others from running. By Python's own 5 ms the loop would keep the
API's calls waiting."""

Work = Callable[[], int]
"""Runs a node and returns the exit code."""

_log = get(__name__)


class Cycle(Protocol):
    """What a role does in each pass."""

    def leads(self) -> bool:
        """Whether this node may act now. Raises LeadLost once it may not any more."""

    def begin(self) -> None:
        """Once, before the first pass."""

    def __call__(self) -> None:
        """One pass."""

    def quiet(self) -> bool:
        """Whether there is nothing left to do now."""

    def finish(self, *, at_once: bool) -> None:
        """Let running steps end, or end them."""


class ProviderCycle:
    """Chain to store, then the next step of every job."""

    def __init__(self, node: ProviderNode) -> None:
        self._node = node
        self._every_s = node.base.settings.reconcile_s
        self._due = self._prune_due = 0.0

    def leads(self) -> bool:
        """Whether this node leads, among those on its database."""
        check_database(self._node.base.settings)  # a node may have been started where it is
        return self._node.lead.leads()

    def begin(self) -> None:
        """Take up what an earlier process left: its orphans, its transactions."""
        counts = self._node.base.store.counts()
        _log.info("taken up", **{state.value: counts[state] for state in State if state in ACTIVE})
        if self._node.gateway is not None:
            self._node.gateway.begin()
        self._node.dispatcher.recover()
        self._node.dispatcher.follow_open()

    def __call__(self) -> None:
        """Scan, reconcile when due, dispatch; now and then prune evidence."""
        node = self._node
        node.reconciler.scan()
        if time.monotonic() >= self._due:
            node.reconciler.reconcile()
            node.dispatcher.follow_open()
            if node.shop is not None:
                node.shop.settlements.resume()
            self._due = time.monotonic() + self._every_s
        node.dispatcher.dispatch()
        if node.gateway is not None:
            node.gateway.step(node.tasks)
        node.tasks.check()
        if time.monotonic() >= self._prune_due:
            self._prune_due = time.monotonic() + PRUNE_EVERY_S
            node.tasks.start(PRUNE, PRUNE, node.retention.prune)
            if node.gateway is not None:
                node.tasks.start(PRUNE, "gateway", node.gateway.prune)

    def quiet(self) -> bool:
        """Whether no task runs."""
        self._node.tasks.check()
        return self._node.tasks.idle()

    def finish(self, *, at_once: bool) -> None:
        """Stop taking steps. Those that run finish first, but jobs have `drain_s` to end by themselves, and
        no time if `at_once`; one that we end is queued again, and the attempt doesn't count.
        """
        node = self._node
        node.stopping.set()
        node.worker.close()
        if not at_once:
            node.tasks.drain(WORK, node.base.settings.of_provider().drain_s)
        node.worker.abort_all()
        node.tasks.close(wait=True)


class WatcherCycle:
    """A watcher works when it is asked; its loop sees that the chain is there, and has audits done."""

    def __init__(self, node: WatcherNode) -> None:
        self._node = node

    def leads(self) -> bool:
        """Always: what it signs is decided in its store, by whichever process is first."""
        return True

    def begin(self) -> None:
        """Nothing to take up: requests are asked again by those who made them."""

    def __call__(self) -> None:
        """Note how far the chain is; audit when that is due."""
        node = self._node
        node.base.metrics.head.set(node.base.facts.finalized().block)
        if node.audits is not None and node.audits.is_due():
            node.tasks.start(AUDIT, AUDIT, node.audits.step)
        node.tasks.check()

    def quiet(self) -> bool:
        """Whether no audit runs."""
        return self._node.tasks.idle()

    def finish(self, *, at_once: bool) -> None:
        """A call that is run again ends first. The server lets requests finish."""
        self._node.stopping.set()
        self._node.tasks.close(wait=not at_once)


class Daemon:
    """One node: its loop and its server."""

    def __init__(
        self, base: Base, cycle: Cycle, server: Server, pulse: Pulse, wake: threading.Event | None = None
    ) -> None:
        """`wake` is set by whatever makes a pass worth while before the next poll is due."""
        self._base, self._cycle, self._server, self._pulse = base, cycle, server, pulse
        self._stop, self._wake = threading.Event(), wake or threading.Event()
        self._poll_s = base.settings.poll_ms / 1000

    def stop(self) -> None:
        """Ask the loop to end after the present step."""
        self._stop.set()
        self._wake.set()

    def run(self) -> int:
        """Work until stopped. Returns the exit code; raises what isn't passing."""
        return self._serve(self._loop)

    def once(self) -> int:
        """Work until there is nothing left to do now."""
        return self._serve(self._until_quiet)

    def _serve(self, work: Callable[[], None]) -> int:
        at_once = True
        # What was loaded stays. Looking for garbage among it would stop every thread, for 0.1 s each time.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(SWITCH_S)
        try:
            # Before the API answers: who sees the node up may end it.
            with self._signals():
                self._server.start()
                work()
            at_once = False
        finally:
            _log.info("stopping", at_once=at_once)
            self._pulse.beat("the node is stopping")
            self._cycle.finish(at_once=at_once)
            self._server.stop()
            self._base.close()
        return EXIT_OK

    def _loop(self) -> None:
        begun, failures = False, 0
        while not self._stop.is_set():
            if not self._server.alive:
                raise ServerProblem("api: the server ended by itself")
            begun, failures = self._pass(begun, failures)
            self._rest(failures)

    def _rest(self, failures: int) -> None:
        """Wait for the next pass: after a failure the whole pause, otherwise less if a step has ended."""
        self._stop.wait(pause_s(failures) if failures else LEAST_S)
        if not failures and self._wake.wait(self._poll_s):
            self._wake.clear()

    def _until_quiet(self) -> None:
        begun, failures, quiet = False, 0, 0
        while not self._stop.is_set() and quiet < QUIET_CYCLES:
            begun, failures = self._pass(begun, failures)
            quiet = quiet + 1 if not failures and self._cycle.quiet() else 0
            self._rest(failures)

    def _pass(self, begun: bool, failures: int) -> tuple[bool, int]:
        """One pass. Returns whether the node has begun, and how many passes failed in a row."""
        metrics = self._base.metrics
        try:
            if not self._cycle.leads():
                self._pulse.beat()
                return False, 0
            with metrics.cycle_seconds.time():
                if not begun:
                    self._cycle.begin()
                    begun = True
                self._cycle()
        except StateConflict as conflict:
            # A step beside the loop was faster; the next pass starts from what it left.
            _log.debug("pass cut short", reason=str(conflict))
        except Exception as error:
            if not is_passing(error):
                raise
            metrics.cycles.labels("failed").inc()
            reason = f"{type(error).__name__}: {error}"
            self._pulse.beat(reason)
            _log.warning("pass failed, tried again", failures=failures + 1, reason=reason)
            return begun, failures + 1
        metrics.cycles.labels("ok").inc()
        metrics.last_cycle.set_to_current_time()
        self._pulse.beat()
        return begun, 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # Python delivers signals to the main thread only
            return

        def handle(number: int, _: FrameType | None) -> None:
            if self._stop.is_set():
                os._exit(EXIT_FORCED)  # jobs end with their parent, the store is consistent at any time
            self._stop.set()
            self._wake.set()

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            # A second signal while running steps finish still ends the process at once.
            if not self._stop.is_set():
                for number, handler in before.items():
                    signal.signal(number, handler)


def build(settings: Settings) -> Daemon:
    """A node from its settings. Raises what keeps it from starting, as a ScripError."""
    pulse = Pulse(settings.poll_ms / 1000)
    if settings.role is Role.WATCHER:
        return _watcher(settings, pulse)
    return _provider(settings, pulse)


def _provider(settings: Settings, pulse: Pulse) -> Daemon:
    node = open_provider(settings)
    base = node.base
    parts = ProviderParts(
        settings=settings,
        store=base.store,
        desk=node.desk,
        evidence=node.evidence,
        metrics=base.metrics,
        pulse=pulse,
        probes=probes(base, pulse)
        | {
            "executor": lambda: node.engines.confinement,
            "work": _work_probe(node.tasks),
            "lead": node.lead.check,
            "evidence": node.retention.probe,
        },
        parties=base.facts,
        oracle=None if base.account is None else base.account.address,
        chain_id=base.chain.chain_id,
        market=base.facts.market,
        registry=base.chain.address("ProviderRegistry"),
        shop=node.shop,
        gateway=node.gateway,
        operator=open_site(node, pulse),
    )
    _announce(base)
    server = _server(settings, provider_app(parts))
    return Daemon(base, ProviderCycle(node), server, pulse, node.tasks.ended)


def _watcher(settings: Settings, pulse: Pulse) -> Daemon:
    node = open_watcher(settings)
    base = node.base
    executor = node.executor
    extra: Mapping[str, Probe] = {} if executor is None else {"executor": lambda: executor.confinement}
    parts = WatcherParts(
        settings=settings,
        watcher=node.watcher,
        store=base.store,
        metrics=base.metrics,
        pulse=pulse,
        probes=probes(base, pulse) | dict(extra),
        address=None if base.account is None else base.account.address,
        chain_id=base.chain.chain_id,
        verifier=base.facts.verifier,
        audits=node.audits,
    )
    _announce(base)
    return Daemon(base, WatcherCycle(node), _server(settings, watcher_app(parts)), pulse)


def _server(settings: Settings, app: ASGIApp) -> Server:
    return Server(app, settings.api.host, settings.api.port, client_s=settings.api.client_s)


def probes(base: Base, pulse: Pulse) -> dict[str, Probe]:
    """What readiness asks of every node. The chain is asked once and briefly: a late answer is none."""
    asked = Chain(make_web3(base.settings.chain.rpc_url, PROBE_S, attempts=1), base.chain.deployment)

    def chain() -> str:
        return f"block {asked.head()}"

    def store() -> str:
        base.store.check_writable()
        return "writable"

    def disk() -> str:
        return f"{check_room(base.settings.state_dir)} bytes free"

    return {"loop": pulse.check, "chain": chain, "store": store, "disk": disk}


def _work_probe(tasks: Tasks) -> Probe:
    def probe() -> str:
        tasks.check()
        return "no step has failed for good"

    return probe


def _announce(base: Base) -> None:
    settings = base.settings
    details: dict[str, Any] = {"role": settings.role.value, "chain_id": base.chain.chain_id}
    details["oracle"] = None if base.account is None else base.account.address
    _log.info("node", **details, local=settings.chain.is_local, finality_depth=base.chain.finality_depth)
    if base.account is None:
        _log.warning("dry run: no keystore is set, nothing will be signed or sent")


def log_crash(error: BaseException) -> None:
    """Log an unexpected error with its traceback, before the process ends."""
    _log.critical("crashed", exc_info=error)
