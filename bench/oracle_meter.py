"""Meters every queued job of a provider's settings without running it: `python -m bench.oracle_meter FILE`.

A process of its own, so that what it uses doesn't count towards the node under test. It takes the jobs in
from the chain like the daemon does, and leaves them metered, with their evidence on disk.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.oracle_lab import SPEC, NoMeter, NoWork
from oracle.catalogue import Catalogue
from oracle.desk import Desk
from oracle.evidence import EvidenceStore
from oracle.executors.base import LOCAL
from oracle.executors.engines import Engines
from oracle.intake import Policy
from oracle.logging import configure
from oracle.node import open_base
from oracle.reconcile import Reconciler
from oracle.reports import GpuReports
from oracle.settings import Settings
from oracle.states import State
from oracle.worker import Worker
from scrip.spec import spec_hash


def main(arguments: Sequence[str]) -> int:
    """Take in and meter; prints what it did, how long each took."""
    settings = Settings.load(Path(arguments[0]), {})
    configure(settings.log_level)
    base, provider = open_base(settings), settings.of_provider()
    account = base.account
    policy = Policy(
        provider, Catalogue.load(), None if account is None else account.address, watchers=0, simulated=False
    )
    desk = Desk(base.store, base.facts, policy, account, base.metrics, room=lambda _: None)
    desk.keep_spec(spec_hash(SPEC), SPEC)
    worker = Worker(
        store=base.store, facts=base.facts, desk=desk, engines=Engines({LOCAL: NoWork()}),
        meters=lambda _: [NoMeter()],
        evidence=EvidenceStore(settings.evidence_folder),
        workroot=settings.state_dir.resolve() / "work", metrics=base.metrics,
        reports=GpuReports(base.facts, policy.key, None),
    )  # fmt: skip
    reconciler = Reconciler(
        base.store, base.facts, provider.address, base.metrics,
        outstanding=lambda _: False, ended=worker.abort,
    )  # fmt: skip
    begun = time.perf_counter()
    taken = reconciler.scan()
    intake_s = time.perf_counter() - begun
    begun = time.perf_counter()
    queued = [job.job_id for job in base.store.oldest([State.QUEUED])]
    for job_id in queued:
        worker.run(job_id)
    metered = base.store.count([State.METERED])
    print(json.dumps({"taken": taken, "intake_s": intake_s, "metered": metered,
                      "meter_s": time.perf_counter() - begun}))  # fmt: skip
    base.close()
    return 0 if metered == len(queued) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
