"""What the chain says, read once and put together for the rest of the oracle. Reads only.

Decisions rest on the finalized view; "already done?" is asked of the head, since it only ever prevents a
send.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from oracle.receipt import JobFacts
from oracle.sampling import Risk, payment_for, stake_for
from scrip import jobs
from scrip.chain import Chain
from scrip.eip712 import job_id, recover
from scrip.errors import BadSignature, NodeUnavailable, NotFound
from scrip.jobs import Ending
from scrip.rpc import host_of
from scrip.types import ClassTerms, Dispute, JobState, JobTerms, Submission
from scrip.view import ChainView

NOW_S: Final = 0.2
CACHE_S: Final = 10.0
"""How long the state of a class (not its terms, which never change) may be remembered."""


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """A class as a provider sees it. `oracle` is the key that may sign for the provider there, None if it
    can't serve.

    `backing` is payment-token base units, `supply` base units of the class, `threshold` how many of its
    watchers must sign (0: it has none).
    """

    class_id: int
    terms: ClassTerms
    backing: int
    supply: int
    wound_down: bool
    oracle: str | None
    threshold: int


class Facts:
    """Reads for one market, shared by all parts of a node. Safe to share between threads."""

    def __init__(self, chain: Chain, *, local: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.chain, self.local, self._clock = chain, local, clock
        self.market = chain.address("JobMarket")
        self.verifier = chain.address("ReceiptVerifier")
        self._terms: dict[int, ClassTerms] = {}
        self._classes: dict[tuple[int, str], tuple[float, ClassFacts]] = {}
        self._now: tuple[float, int] | None = None
        self._lock = threading.Lock()

    def job_id(self, terms: JobTerms) -> bytes:
        """Id of the job with these terms at this market."""
        return job_id(terms, self.chain.chain_id, self.market)

    def now(self) -> int:
        """Unix seconds that a block mined now would carry: the chain's clock, which need not be ours. As it
        was at most `NOW_S` ago, so that many who ask at once cost one look.
        """
        with self._lock:
            known = self._now
        if known is not None and self._clock() - known[0] < NOW_S:
            return known[1]
        asked = self._clock()
        # A node that knows no pending block: the newest one is a lower bound.
        found = max(self.chain.time_of("latest") or 0, self.chain.time_of("pending") or 0)
        with self._lock:
            self._now = (asked, found)
        return found

    def time(self, view: ChainView) -> int:
        """Unix seconds of the view's block. Raises NodeUnavailable if the node that named it hasn't got it:
        another one behind the same URL is behind, or it lies.
        """
        return self._time_of(view.block)

    def _time_of(self, block: int) -> int:
        try:
            return self.chain.block_time(block)
        except NotFound as missing:
            raise NodeUnavailable(
                host_of(self.chain.w3), f"it names block {block} and hasn't got it"
            ) from missing

    def finalized(self) -> ChainView:
        """The state that decisions rest on."""
        return self.chain.at(self.chain.finalized())

    def job(self, job: bytes, view: ChainView | None = None) -> JobState:
        """The job's slot at `view`, by default the head. Empty once the job has ended after its acceptBy."""
        return (view or self.chain.at()).job_state(job)

    def jobs(self, jobs: Sequence[bytes]) -> dict[bytes, JobState]:
        """The slots of several jobs at the head."""
        return dict(zip(jobs, self.chain.at().job_states(jobs), strict=True))

    def ending(self, job: bytes, view: ChainView, since: int) -> Ending | None:
        """How a job without a slot ended by `view`, None if it didn't. It wasn't opened before `since`."""
        return jobs.ending(view, job, since)

    def submission(self, job: bytes, view: ChainView) -> Submission:
        """The receipt that waits for its challenge window."""
        return view.submission(job)

    def dispute(self, job: bytes, view: ChainView) -> Dispute:
        """The challenge that arbiters are to decide."""
        return view.dispute(job)

    def class_terms(self, class_id: int) -> ClassTerms:
        """Terms of a class. Raises NotFound."""
        with self._lock:
            found = self._terms.get(class_id)
        if found is None:
            found = self.chain.at().class_terms(class_id)
            with self._lock:
                self._terms[class_id] = found
        return found

    def class_facts(self, class_id: int, provider: str) -> ClassFacts:
        """The class for `provider`, at most `CACHE_S` old. Raises NotFound."""
        key = (class_id, provider)
        with self._lock:
            known = self._classes.get(key)
        if known is not None and self._clock() - known[0] < CACHE_S:
            return known[1]
        fresh = self._read_class(class_id, provider)
        with self._lock:
            self._classes[key] = (self._clock(), fresh)
        return fresh

    def _read_class(self, class_id: int, provider: str) -> ClassFacts:
        terms, view = self.class_terms(class_id), self.chain.at()
        return ClassFacts(
            class_id=class_id,
            terms=terms,
            backing=view.backing(class_id),
            supply=view.supply(class_id),
            wound_down=bool(view.read("ComputeCredits", "isWoundDown", class_id)),
            oracle=view.oracle_for(provider, class_id),
            threshold=self.threshold(terms.watcher_set) if terms.watcher_set else 0,
        )

    def job_facts(self, terms: JobTerms, state: JobState) -> JobFacts:
        """All that a receipt or its verification needs to know of a job. Raises NotFound for its class."""
        return JobFacts(
            chain_id=self.chain.chain_id,
            market=self.market,
            terms=terms,
            class_terms=self.class_terms(terms.class_id),
            state=state,
            local=self.local,
        )

    def available(self, holder: str, class_id: int) -> int:
        """Units of the class that `holder` can lock."""
        return self.chain.at().available(holder, class_id)

    def provider_uri(self, provider: str) -> str:
        """URI of the provider's registration file, "" if it isn't registered."""
        return str(self.chain.at().read("ProviderRegistry", "uriOf", provider))

    def oracle(self, provider: str) -> str:
        """Key that signs for the provider now; the zero address if it isn't registered."""
        return self.chain.at().oracle_of(provider)

    def risk(self, terms: JobTerms) -> Risk:
        """What a provider that cheats in this job has to lose. The stake counts 0 if it isn't in the token
        that pays, or if less is left than stands behind all its jobs.
        """
        class_terms, view = self.class_terms(terms.class_id), self.chain.at()
        stake = stake_for(class_terms, terms.max_units)
        if stake == 0 or view.read("ProviderRegistry", "STAKE_TOKEN") != class_terms.payment_token:
            return Risk(0, 0)
        held = int(view.read("ProviderRegistry", "stakeOf", terms.provider))
        held += int(view.read("ProviderRegistry", "unbondingOf", terms.provider)[0])
        if held < max(stake, int(view.read("ProviderRegistry", "reservedOf", terms.provider))):
            return Risk(0, 0)
        backing, supply = view.backing(terms.class_id), view.supply(terms.class_id)
        return Risk(payment_for(class_terms, terms.max_units, backing, supply), stake)

    def threshold(self, set_id: int) -> int:
        """How many watchers of the set must sign; 0 if it isn't in force."""
        return int(self.chain.at().read("ReceiptVerifier", "thresholdOf", set_id))

    def is_watcher(self, set_id: int, account: str) -> bool:
        """Whether `account` is a member of the set in force."""
        return bool(self.chain.at().read("ReceiptVerifier", "isWatcher", set_id, account))

    def has_signed(self, account: str, message: bytes, signature: bytes) -> bool:
        """Whether `account` signed the digest `message`: by its key, or as a contract (ERC-1271)."""
        try:
            if recover(message, signature) == account:
                return True
        except BadSignature:
            pass
        return self.chain.at().is_valid_signature(account, message, signature)

    def is_party(self, account: str, terms: JobTerms) -> bool:
        """Whether `account` pays for the job, does it, or judges it as a watcher or arbiter of its class."""
        if account in (terms.payer, terms.provider):
            return True
        view = self.chain.at()
        if account == view.read("ProviderRegistry", "oracleNowServing", terms.provider):
            return True
        if terms.budget_id and account == view.read("SpendingBudgets", "spenderOf", terms.budget_id):
            return True
        return self.judges(account, terms.class_id)

    def judges(self, account: str, class_id: int) -> bool:
        """Whether `account` is a watcher or an arbiter of the class. Raises NotFound."""
        terms = self.class_terms(class_id)
        sets = {terms.watcher_set, terms.arbiter_set} - {0}
        return any(self.is_watcher(set_id, account) for set_id in sets)
