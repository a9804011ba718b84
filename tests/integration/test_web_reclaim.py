"""The dApp page when work doesn't come: a buyer sees until when to wait, and gets the credits back after."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.classes import CPU, create_class, terms_of
from demo.stack import Stack
from demo.stack_config import PROVIDER
from scrip.amounts import pay_out
from scrip.eip712 import job_id
from scrip.types import JobTerms
from tests.integration.web_place import Host, Wallet, connect, give, visit, wallet_of

UNITS = 2_000
ACCEPT_SECONDS, SUBMIT_SECONDS = 600, 1_200
BACK = "Take the credits back"


def opened(stack: Stack, *, accepted: bool) -> JobTerms:
    """A job of the buyer's, taken by the provider or not; no provider is at work."""
    give(stack, "buyer", stack.classes.cpu, UNITS)
    now = stack.chain.at().time()
    terms = JobTerms(
        payer=str(stack.accounts["buyer"].address), provider=stack.provider, class_id=stack.classes.cpu,
        max_units=UNITS, resources=1, accept_by=now + ACCEPT_SECONDS, submit_by=now + SUBMIT_SECONDS,
        spec_hash=b"\1" * 32, budget_id=0, salt=now,
    )  # fmt: skip
    market = stack.chain.contract("JobMarket").functions
    stack.sender("buyer").send(market.open(terms.to_abi(), b""), label="open")
    if accepted:
        stack.sender(PROVIDER).send(market.accept(terms.to_abi()), label="accept")
    return terms


def shown(stack: Stack, terms: JobTerms) -> str:
    return "0x" + job_id(terms, stack.chain.chain_id, stack.chain.address("JobMarket")).hex()


def show(page: Page, job: str) -> None:
    page.get_by_label("Job id").fill(job)
    page.get_by_role("button", name="Show job", exact=True).click()


def test_job__nobody_accepted_in_time__is_listed_and_its_credits_come_back(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    job = shown(web_stack, opened(web_stack, accepted=False))
    web_stack.anvil.advance(ACCEPT_SECONDS + 1)
    with visit(browser, web_host, wallet) as page:
        connect(page)
        listed = page.locator("#job-mine li", has=page.get_by_role("button", name=f"Show job {job}"))
        expect(listed).to_contain_text("open, past its time: take the credits back")
        listed.get_by_role("button").click()
        expect(page.locator("#job-time")).to_contain_text("No provider accepted it until")
        page.get_by_role("button", name=BACK).click()
        view = page.locator("#job-view")
        expect(view).to_contain_text("expired")
        expect(view).to_contain_text("Free again2 CPU-seconds")
        expect(view).to_be_focused()  # not lost with the button that is gone
        expect(listed).to_contain_text("over")
    assert web_stack.chain.at().locked(wallet.account.address, web_stack.classes.cpu) == 0


def test_job__taken_but_not_done__says_how_long_to_wait_and_then_gives_the_credits_back(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    job = shown(web_stack, opened(web_stack, accepted=True))
    with visit(browser, web_host, wallet) as page:
        connect(page)
        show(page, job)
        expect(page.locator("#job-time")).to_contain_text(
            re.compile(r"The provider has until .+ \(in \d+ min( \d+ s)?\)")
        )
        page.get_by_role("button", name=BACK).click()
        told = page.get_by_role("alert")
        expect(told).to_contain_text(
            re.compile(r"Too early: this is possible from .+ on, in \d+ min( \d+ s)?\.")
        )
        assert "eth_sendTransaction" not in wallet.asked
        web_stack.anvil.advance(SUBMIT_SECONDS + 1)
        expect(page.locator("#job-time")).to_contain_text("The provider brought no receipt until")
        page.get_by_role("button", name=BACK).click()
        expect(page.locator("#job-view")).to_contain_text("expired")
        expect(told).to_be_hidden()
    assert web_stack.chain.at().locked(wallet.account.address, web_stack.classes.cpu) == 0


def test_job__open__only_who_pays_may_cancel_it(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    job = shown(web_stack, opened(web_stack, accepted=False))
    with visit(browser, web_host, wallet_of(web_stack, "stranger")) as page:
        connect(page)
        show(page, job)
        expect(page.get_by_role("button", name=BACK)).to_be_visible()
        expect(page.get_by_role("button", name="Cancel the job")).to_have_count(0)
        page.evaluate("account => window.__emit('accountsChanged', [account])", wallet.account.address)
        expect(page.get_by_role("button", name="Cancel the job")).to_be_visible()


@pytest.fixture
def ending_class(web_stack: Stack) -> int:
    """A class of which the buyer has credits, and whose issuer then closes it."""
    issuer = web_stack.sender("issuer")
    terms = terms_of(CPU, issuer=issuer.address, payment_token=web_stack.payment_token, watcher_set=1)
    made = create_class(web_stack.chain, issuer, replace(terms, name="Short-lived"))
    give(web_stack, "buyer", made, UNITS)
    issuer.send(web_stack.chain.contract("ComputeCredits").functions.closeClass(made), label="close")
    return made


def test_class__closed__holders_reclaim_their_share(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, ending_class: int
) -> None:
    view, who = web_stack.chain.at, wallet.account.address
    before = view().token_balance(web_stack.payment_token, who)
    due = pay_out(UNITS, view().backing(ending_class), view().supply(ending_class))
    with visit(browser, web_host, wallet) as page:
        connect(page)
        held = page.locator(f"[data-holding='{ending_class}']")
        expect(held).to_contain_text("0.0002 dUSD for what is free")
        held.get_by_role("button", name="Reclaim your share").click()
        expect(page.locator("#status")).to_have_text("Reclaimed your share for 2 CPU-seconds.")
        expect(held).to_have_count(0)
    assert due > 0
    assert view().token_balance(web_stack.payment_token, who) - before == due
    assert view().balance(who, ending_class) == 0
