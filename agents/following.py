"""Following a job to its end, and ending it where everybody else has let its deadline pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scrip import jobs
from scrip.chain import Chain
from scrip.errors import NotFound, Reverted, TxLost
from scrip.redeem import POLL_SECONDS, NotFinished, Plan
from scrip.sender import Sender
from scrip.types import Status
from scrip.view import ChainView

GRACE_SECONDS = 5
"""How long after a deadline others may end a job first: the provider's node usually does."""


@dataclass(frozen=True, slots=True)
class Follower:
    """Waits for jobs. `clock` is monotonic seconds."""

    chain: Chain
    sender: Sender
    clock: Callable[[], float]
    sleep: Callable[[float], object]

    def deadline(self, timeout: float) -> float:
        """When `timeout` seconds from now will have passed."""
        return self.clock() + timeout

    def until_final(self, plan: Plan, deadline: float) -> Status:
        """The job's final status. Ends the job itself once its own deadline has passed.

        Raises NotFinished after `deadline`, NotFound if the job isn't on chain, and as `Sender.send`.
        """
        while True:
            view = self.chain.at()
            status = jobs.status(view, plan.job_id, plan.since)
            if status is Status.NONE:
                raise NotFound("job", plan.job_id, "A reorganisation may have taken it. Ask again")
            if status.final:
                return status
            if end_if_due(self.chain, self.sender, plan, status, view):
                continue
            if self.clock() >= deadline:
                raise NotFinished(plan.job_id, status)
            self.sleep(POLL_SECONDS)


def end_if_due(chain: Chain, sender: Sender, plan: Plan, status: Status, view: ChainView) -> bool:
    """End a job whose deadline has passed: anyone may, and nobody else need. True if something was sent.

    Raises as `Sender.send`, but for reverts: then somebody else was first.
    """
    how, due = _due(plan, status, view)
    if view.time() <= due + GRACE_SECONDS:
        return False
    call = chain.contract("JobMarket").functions[how](plan.terms.to_abi())
    try:
        sender.send(call, label=f"{how} 0x{plan.job_id.hex()}")
    except (Reverted, TxLost):
        return False
    return True


def _due(plan: Plan, status: Status, view: ChainView) -> tuple[str, int]:
    """What ends a job of this status, and from when on (unix seconds)."""
    if status is Status.OPEN:
        return "expire", plan.terms.accept_by
    if status is Status.RUNNING:
        return "expire", plan.terms.submit_by
    if status is Status.SUBMITTED:
        return "finalize", view.submission(plan.job_id).finalize_at
    return "finalize", view.dispute(plan.job_id).decide_by
