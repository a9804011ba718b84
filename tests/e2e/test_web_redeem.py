"""The dApp page from purchase to receipt: real Chromium, chain, provider and watchers, all in processes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from scrip import jobs
from scrip.types import Status
from scripts.stack import Stack, running
from scripts.stack_config import Options
from tests.integration.web_place import (
    Host,
    Wallet,
    chromium,
    connect,
    fill_purchase,
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
    assert view.balance(wallet.account.address, class_id) == 60_000 - ending.units
