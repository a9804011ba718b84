"""A job whose receipt waits out a challenge window, on the dApp page: who bought it can settle it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from demo.stack import Stack, running
from demo.stack_config import PROVIDER, Options
from scrip import jobs, redeem
from scrip.spec import JobSpec
from scrip.types import Status
from tests.e2e.site import until
from tests.integration.web_market import class_with
from tests.integration.web_place import chromium, connect, give, hosted, visit, wallet_of

WINDOW = 3_600
UNITS = 30_000
MS = 120_000
WORK = JobSpec("hash.chain", {"seed": "0x" + "12" * 32, "steps": 20_000})


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A chain of its own: its clock is moved."""
    with running(Options(tick_ms=200)) as up:
        up.start_nodes()
        yield up


def submitted(stack: Stack) -> bytes:
    """Id of the buyer's job, done by a provider that is gone since."""
    class_id = class_with(stack, challenge_window=WINDOW, arbiter_set=1, name="With a window")
    give(stack, "buyer", class_id, UNITS)
    buyer = stack.accounts["buyer"].address
    plan = redeem.plan(stack.chain, buyer, stack.provider, class_id, WORK, UNITS)
    redeem.open_job(stack.chain, stack.sender("buyer"), plan)
    until(lambda: stack.chain.at().job_state(plan.job_id).status is Status.SUBMITTED, "submitted", MS / 1_000)
    stack.nodes[PROVIDER].stop()
    return plan.job_id


def test_job__window_is_over_and_provider_gone__its_buyer_settles_it_and_gets_the_rest_back(
    stack: Stack, tmp_path: Path
) -> None:
    job = submitted(stack)
    wallet = wallet_of(stack, "buyer")
    with chromium() as browser, hosted(tmp_path) as host:
        host.configure(stack)
        with visit(browser, host, wallet) as page:
            connect(page)
            page.get_by_label("Job id").fill("0x" + job.hex())
            page.get_by_role("button", name="Show job", exact=True).click()
            told = page.locator("#job-time")
            expect(told).to_contain_text("It can be challenged until", timeout=MS)
            page.get_by_role("button", name="Settle the job").click()
            expect(page.get_by_role("alert")).to_contain_text("Too early: this is possible from", timeout=MS)
            assert "eth_sendTransaction" not in wallet.asked
            stack.anvil.advance(WINDOW + 1)
            expect(told).to_contain_text("Nobody challenged the receipt until", timeout=MS)
            page.get_by_role("button", name="Settle the job").click()
            expect(page.locator("#receipt")).to_contain_text("Every check passed.", timeout=MS)
            expect(page.locator("#job-view")).to_contain_text("settled")
    view = stack.chain.at()
    ending = jobs.ending(view, job)
    assert ending is not None
    assert ending.status is Status.SETTLED
    assert 0 < ending.units < UNITS
    class_id = jobs.opening(view, job).terms.class_id
    assert view.locked(wallet.account.address, class_id) == 0
    assert view.balance(wallet.account.address, class_id) == UNITS - ending.units
