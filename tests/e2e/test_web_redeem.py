"""The dApp page from purchase to receipt: real Chromium, chain, provider and watchers, all in processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from demo.stack import USD, Stack, running
from demo.stack_config import Options
from scrip import budgets, jobs, redeem
from scrip.spec import JobSpec
from scrip.types import Status
from scrip.types_spending import NO_CAP, Limits
from tests.integration.web_place import (
    Host,
    Wallet,
    chromium,
    connect,
    fill_purchase,
    give,
    hosted,
    visit,
    wallet_of,
)

JOB_MS = 120_000
STEPS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def host(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted(tmp_path_factory.mktemp("web")) as made:
        yield made


@pytest.fixture(scope="module")
def stack(host: Host) -> Iterator[Stack]:
    """Everything runs; the provider admits pages of the host and no others."""
    address = urlsplit(host.url)
    with running(Options(web_origins=(f"{address.scheme}://{address.netloc}",), tick_ms=200)) as up:
        host.configure(up)
        up.start_nodes()
        yield up


@pytest.fixture
def wallet(stack: Stack) -> Wallet:
    return wallet_of(stack, "buyer")


@pytest.fixture(scope="module")
def settled(stack: Stack) -> bytes:
    """Id of a job that another buyer's program had done."""
    class_id, account = stack.classes.cpu, stack.accounts["stranger"]
    give(stack, "stranger", class_id, 30_000)
    spec = JobSpec("hash.chain", {"seed": "0x" + "11" * 32, "steps": STEPS})
    planned = redeem.plan(stack.chain, account.address, stack.provider, class_id, spec, 30_000)
    redeem.open_job(stack.chain, stack.sender("stranger"), planned)
    status = redeem.follow(stack.chain, planned.job_id, timeout=JOB_MS / 1_000, since=planned.since)
    assert status is Status.SETTLED
    return planned.job_id


def show_job(page: Page, job: bytes) -> None:
    page.get_by_label("Job id").fill("0x" + job.hex())
    page.get_by_role("button", name="Show job").click()


def parts(stack: Stack, job: bytes) -> dict[str, str]:
    """What the transaction that settled a job holds, in hex."""
    view = stack.chain.at()
    ending = jobs.ending(view, job)
    assert ending is not None
    call = stack.chain.w3.eth.get_transaction(ending.tx_hash)["input"]
    _, arguments = stack.chain.contract("JobMarket").decode_function_input(call)
    attestation = arguments["attestation"]
    return {
        "provider": bytes(attestation["provider"]).hex(),
        "watcher": bytes(attestation["watchers"][0]).hex(),
        "evidence": bytes(arguments["receipt"]["evidenceRoot"]).hex(),
    }


def buy(page: Page, class_id: int, credits: str) -> None:
    fill_purchase(page, class_id, credits)
    page.get_by_role("button", name="Buy").click()
    expect(page.locator("#status")).to_contain_text("Bought", timeout=JOB_MS)


def redeem_hashes(page: Page, class_id: int, steps: int, most: str) -> None:
    form = page.locator("#redeem-form")
    form.get_by_label("Class").select_option(str(class_id))
    form.get_by_label("Template").select_option("hash.chain", timeout=JOB_MS)
    form.get_by_label("steps").fill(str(steps))
    form.get_by_label("Most credits to lock").fill(most)
    form.get_by_role("button", name="Redeem").click()


def test_page__buy_redeem_receipt__every_signature_is_checked_in_the_browser(
    browser: Browser, host: Host, stack: Stack, wallet: Wallet
) -> None:
    class_id = stack.classes.cpu
    before = stack.chain.at().balance(wallet.account.address, class_id)
    with visit(browser, host, wallet) as page:
        connect(page)
        buy(page, class_id, "60")
        redeem_hashes(page, class_id, STEPS, "30")
        receipt = page.locator("#receipt")
        expect(receipt).to_contain_text("Every check passed.", timeout=JOB_MS)
        for check in ("Receipt hash", "Job", "Provider's signature", "Watchers' signatures"):
            expect(receipt.locator(f'[data-check="{check}"]')).to_contain_text("passed")
        watchers = receipt.locator('[data-check="Watchers\' signatures"]')
        for name in stack.options.watcher_names:
            expect(watchers).to_contain_text(str(stack.accounts[name].address))
        expect(receipt).to_contain_text("completed")
        expect(page.locator("#job-view")).to_contain_text("settled")
        receipt.get_by_role("button", name="Show output").click()
        expect(page.locator('[data-check="Output hash"]')).to_contain_text("passed")
        job = bytes.fromhex(page.locator("#job-form input").input_value().removeprefix("0x"))
    view = stack.chain.at()
    ending = jobs.ending(view, job)
    assert ending is not None
    assert (ending.status, jobs.opening(view, job).terms.payer) == (Status.SETTLED, wallet.account.address)
    assert 0 < ending.units <= 30_000
    assert view.locked(wallet.account.address, class_id) == 0
    assert view.balance(wallet.account.address, class_id) == before + 60_000 - ending.units


def test_redeem__with_a_budget__its_owner_pays(
    browser: Browser, host: Host, stack: Stack, wallet: Wallet
) -> None:
    class_id, owner = stack.classes.cpu, str(stack.accounts["stranger"].address)
    give(stack, "stranger", class_id, 30_000)
    limits = Limits(
        spender=wallet.account.address,
        per_action=NO_CAP,
        per_period=NO_CAP,
        lifetime=USD,
        period=0,
        expiry=0,
        listed=False,
    )
    budget = budgets.create(stack.chain, stack.sender("stranger"), stack.payment_token, limits)
    with visit(browser, host, wallet) as page:
        connect(page)
        page.locator("#redeem-form").get_by_label("Budget").fill(str(budget))
        redeem_hashes(page, class_id, STEPS, "30")
        expect(page.locator("#receipt")).to_contain_text("Every check passed.", timeout=JOB_MS)
        job = bytes.fromhex(page.locator("#job-form input").input_value().removeprefix("0x"))
    terms = jobs.opening(stack.chain.at(), job).terms
    assert (terms.payer, terms.budget_id) == (owner, budget)


def test_receipt__of_anybodys_job__is_checked_without_a_wallet(
    browser: Browser, host: Host, stack: Stack, settled: bytes
) -> None:
    with visit(browser, host, None) as page:
        show_job(page, settled)
        expect(page.locator("#receipt")).to_contain_text("Every check passed.", timeout=JOB_MS)
        page.get_by_role("button", name="Show output").click()
        expect(page.get_by_role("alert")).to_contain_text("Connect a wallet first.")


@pytest.mark.parametrize(
    ("part", "check"), [("provider", "Provider's signature"), ("watcher", "Watchers' signatures")]
)
def test_receipt__signature_that_is_another__fails_its_check(
    browser: Browser, host: Host, stack: Stack, settled: bytes, part: str, check: str
) -> None:
    with visit(browser, host, None) as page:
        lie(page, stack, parts(stack, settled)[part])
        show_job(page, settled)
        receipt = page.locator("#receipt")
        expect(receipt).to_contain_text("A check FAILED: don't rely on this receipt.", timeout=JOB_MS)
        expect(receipt.locator("li .bad")).to_have_count(1)
        expect(receipt.locator("li", has_text="FAILED")).to_contain_text(check)


def test_receipt__other_than_the_chain_names__is_refused(
    browser: Browser, host: Host, stack: Stack, settled: bytes
) -> None:
    with visit(browser, host, None) as page:
        lie(page, stack, parts(stack, settled)["evidence"])
        show_job(page, settled)
        expect(page.get_by_role("alert")).to_contain_text("doesn't hold the receipt that the chain names")


def lie(page: Page, stack: Stack, truth: str) -> None:
    """Have the node tell the page another digit of something in a transaction."""

    def altered(route: Route) -> None:
        answer = route.fetch()
        other = truth[:9] + ("0" if truth[9] != "0" else "1") + truth[10:]
        route.fulfill(response=answer, body=answer.text().replace(truth, other))

    page.route(lambda url: url.startswith(stack.rpc_url), altered)


def test_redeem__page_that_the_provider_does_not_admit__says_why(
    browser: Browser, host: Host, stack: Stack, wallet: Wallet, tmp_path: Path
) -> None:
    with hosted(tmp_path) as other:
        other.configure(stack)
        with visit(browser, other, wallet) as page:
            page.locator("#redeem-form").get_by_label("Class").select_option(str(stack.classes.cpu))
            expect(page.locator("#provider-about")).to_contain_text("its api.web_origins")
