"""The dApp page in headless Chromium against contracts on Anvil: what needs no provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from scripts.stack import USD, Stack, mint, running
from scripts.stack_config import Options
from tests.integration.web_place import WAIT_MS, Host, Wallet, chromium, connect, hosted, visit

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def stack(browser: Browser) -> Iterator[Stack]:
    """Contracts, classes and a buyer with dollars; no node runs."""
    with running(Options()) as up:
        yield up


@pytest.fixture(scope="module")
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted(tmp_path_factory.mktemp("web")) as made:
        made.configure(stack.rpc_url, stack.layout.deployments / f"{stack.options.chain_id}.json")
        yield made


@pytest.fixture
def wallet(stack: Stack) -> Wallet:
    """The buyer's wallet; it has 100 dollars at least."""
    mint(stack.chain, stack.sender("buyer"), 100 * USD)
    return wallet_of(stack, "buyer")


def wallet_of(stack: Stack, name: str) -> Wallet:
    return Wallet(stack.accounts[name], stack.anvil, stack.options.chain_id)


def held(stack: Stack, name: str, class_id: int) -> int:
    return stack.chain.at().balance(str(stack.accounts[name].address), class_id)


def fill_purchase(page: Page, class_id: int, credits: str) -> None:
    form = page.locator("#buy-form")
    form.get_by_label("Class").select_option(str(class_id))
    form.get_by_label("Credits").fill(credits)


def test_classes__without_a_wallet__shows_terms_price_backing_and_supply(
    browser: Browser, host: Host, stack: Stack
) -> None:
    with visit(browser, host, None) as page:
        card = page.locator(f"[data-class='{stack.classes.cpu}']")
        expect(card).to_contain_text("CPU-seconds")
        expect(card).to_contain_text("100 dUSD per million credits")
        card.get_by_text("Terms").click()
        expect(card).to_contain_text("Watcher set")
        expect(page.locator("#class-list article")).to_have_count(3)


def test_buy__with_a_permit__credits_arrive_for_their_price(
    browser: Browser, host: Host, stack: Stack, wallet: Wallet
) -> None:
    class_id, buyer = stack.classes.cpu, str(stack.accounts["buyer"].address)
    before, paid = held(stack, "buyer", class_id), stack.chain.at().token_balance(stack.payment_token, buyer)
    with visit(browser, host, wallet) as page:
        connect(page)
        fill_purchase(page, class_id, "12.5")
        expect(page.locator("#buy-cost")).to_have_text("0.00125 dUSD")
        page.get_by_role("button", name="Buy").click()
        expect(page.locator("#status")).to_have_text("Bought 12.5 CPU-seconds.")
        expect(page.locator(f"[data-holding='{class_id}']")).to_contain_text("Held")
    assert held(stack, "buyer", class_id) - before == 12_500
    assert paid - stack.chain.at().token_balance(stack.payment_token, buyer) == 1_250
    assert wallet.asked.count("eth_signTypedData_v4") == wallet.asked.count("eth_sendTransaction") == 1
