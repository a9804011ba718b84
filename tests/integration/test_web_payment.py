"""The dApp page's purchases by feeds, without permits and from contract wallets."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from eth_account import Account
from playwright.sync_api import Browser, Page, expect

from demo.stack import USD, Stack
from tests.integration.web_market import (
    MAX_AGE,
    PRICE,
    ContractWallet,
    Feed,
    NoPermits,
    class_by,
    class_with,
    feed_of,
    plain_token,
)
from tests.integration.web_place import Host, Wallet, connect, fill_purchase, visit

MILLION = 1_000_000
ETHER = 10**18
OF_ANOTHER_KEY = Account.create()
# The page follows a feed only while it is looked at: here, what it showed stays until the test goes on.
UNSEEN = "Object.defineProperty(document, 'hidden', { get: () => true });"


class Impostor(Wallet):
    """A wallet that signs with a key which isn't the account's, as a contract's before it is deployed."""

    def _answer(self, method: str, params: list[Any]) -> Any:
        if method != "eth_signTypedData_v4":
            return super()._answer(method, params)
        theirs = {one.name: getattr(self, one.name) for one in fields(Wallet)} | {"account": OF_ANOTHER_KEY}
        return Wallet(**theirs)._answer(method, params)


@pytest.fixture
def feed(web_stack: Stack) -> Feed:
    return feed_of(web_stack)


def press_buy(page: Page) -> None:
    page.locator("#buy-form").get_by_role("button", name="Buy").click()


def bought(page: Page, credits: str) -> None:
    expect(page.locator("#status")).to_have_text(f"Bought {credits} CPU-seconds.")


def held(stack: Stack, wallet: Wallet, class_id: int) -> int:
    return stack.chain.at().balance(wallet.account.address, class_id)


def test_feed__fresh_price__is_shown_with_age_and_bound_and_paid(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, feed: Feed
) -> None:
    feed.post(PRICE * 105 // 100, age=120)
    class_id = class_by(web_stack, feed)
    before = web_stack.chain.at().token_balance(web_stack.payment_token, wallet.account.address)
    with visit(browser, web_host, wallet) as page:
        connect(page)
        fill_purchase(page, class_id, "20")
        expect(page.locator("#buy-cost")).to_have_text("0.0021 dUSD now, 0.002121 dUSD at most")
        about = page.locator("#buy-feed")
        expect(about).to_contain_text(re.compile(r"observed \d+ min( \d+ s)? ago"))
        expect(about).to_contain_text("at most 10 min old and within 10 % of 100 dUSD per million")
        expect(page.locator(f"#class-list [data-class='{class_id}']")).to_contain_text(
            "105 dUSD per million credits, by a feed"
        )
        press_buy(page)
        bought(page, "20")
    assert held(web_stack, wallet, class_id) == 20_000
    assert (
        before - web_stack.chain.at().token_balance(web_stack.payment_token, wallet.account.address) == 2_100
    )


def test_feed__too_old_and_then_fresh__says_so_and_sells_without_a_reload(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, feed: Feed
) -> None:
    feed.post(PRICE, age=3 * MAX_AGE)
    class_id = class_by(web_stack, feed)
    told = re.compile(
        r"The class's price is too old: it is of .+, \d+ min( \d+ s)? more than the class allows\."
    )
    with visit(browser, web_host, wallet) as page:
        connect(page)
        expect(page.locator(f"#class-list [data-class='{class_id}']")).to_contain_text(
            "none now: The class's price is too old"
        )
        fill_purchase(page, class_id, "20")
        expect(page.locator("#buy-cost")).to_have_text(told)
        press_buy(page)
        expect(page.get_by_role("alert")).to_contain_text(told)
        expect(page.get_by_role("alert")).to_contain_text("or take an offer")
        assert "eth_signTypedData_v4" not in wallet.asked
        feed.post(PRICE, age=0)
        expect(page.locator("#buy-cost")).to_contain_text("0.002 dUSD now")
        press_buy(page)
        bought(page, "20")
    assert held(web_stack, wallet, class_id) == 20_000


@pytest.mark.parametrize(
    ("percent", "told"),
    [
        (None, "price feed has no price"),
        (115, "above what the class allows"),
        (80, "below what the class allows"),
    ],
)
def test_feed__no_price_or_one_too_far__says_which(
    browser: Browser, web_host: Host, web_stack: Stack, feed: Feed, percent: int | None, told: str
) -> None:
    if percent is not None:
        feed.post(PRICE * percent // 100, age=0)
    class_id = class_by(web_stack, feed)
    with visit(browser, web_host, None) as page:
        fill_purchase(page, class_id, "1")
        expect(page.locator("#buy-cost")).to_contain_text(told)
        assert ("has no price now" in page.locator("#buy-feed").inner_text()) == (percent is None)


def test_feed__rose_beyond_what_was_agreed__asks_again_before_anything_is_signed(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, feed: Feed
) -> None:
    feed.post(PRICE, age=60)
    class_id = class_by(web_stack, feed)
    with visit(browser, web_host, wallet, script=UNSEEN) as page:
        connect(page)
        fill_purchase(page, class_id, "20")
        expect(page.locator("#buy-cost")).to_have_text("0.002 dUSD now, 0.00202 dUSD at most")
        feed.post(PRICE * 102 // 100, age=0)
        press_buy(page)
        expect(page.get_by_role("alert")).to_contain_text("The price rose: this costs 0.00204 dUSD now.")
        assert "eth_signTypedData_v4" not in wallet.asked
        expect(page.locator("#buy-cost")).to_contain_text("0.00204 dUSD now")
        press_buy(page)
        bought(page, "20")
    assert held(web_stack, wallet, class_id) == 20_000


def test_buy__token_without_permits__is_approved_for_exactly_the_cost(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    token = plain_token(web_stack, wallet.account.address)
    class_id = class_with(web_stack, payment_token=token.address, name="Plain token")
    with visit(browser, web_host, wallet) as page:
        connect(page)
        fill_purchase(page, class_id, "30")
        press_buy(page)
        bought(page, "30")
    assert wallet.asked.count("eth_sendTransaction") == 2
    assert "eth_signTypedData_v4" not in wallet.asked
    assert held(web_stack, wallet, class_id) == 30_000
    allowed = token.functions.allowance(wallet.account.address, web_stack.chain.address("CreditReserve"))
    assert allowed.call() == 0


@pytest.mark.parametrize("kind", [NoPermits, Impostor])
def test_buy__wallet_whose_permit_is_worth_nothing__approves_instead(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, kind: type[Wallet]
) -> None:
    poor = kind(wallet.account, wallet.anvil, wallet.chain_id)
    before = held(web_stack, poor, web_stack.classes.cpu)
    with visit(browser, web_host, poor) as page:
        connect(page)
        fill_purchase(page, web_stack.classes.cpu, "7")
        press_buy(page)
        bought(page, "7")
    assert poor.asked.count("eth_sendTransaction") == 2
    assert held(web_stack, poor, web_stack.classes.cpu) - before == 7_000


def test_buy__account_that_is_a_contract__approves_holds_and_sells(
    browser: Browser, web_host: Host, web_stack: Stack
) -> None:
    account, class_id = Account.create(), web_stack.classes.cpu
    safe = ContractWallet(account, web_stack.anvil, web_stack.options.chain_id)
    safe.install()
    web_stack.anvil.set_balance(account.address, ETHER)
    mint = web_stack.chain.contract("DemoUSD").functions.mint(account.address, USD)
    web_stack.sender("stranger").send(mint, label="mint")
    with visit(browser, web_host, safe) as page:
        connect(page)
        fill_purchase(page, class_id, "5")
        press_buy(page)
        bought(page, "5")
        assert "eth_signTypedData_v4" not in safe.asked
        assert safe.asked.count("eth_sendTransaction") == 2
        form = page.locator("#offer-form")
        form.get_by_label("Class").select_option(str(class_id))
        form.get_by_label("Credits").fill("5")
        form.get_by_label("Price of all").fill("0.5")
        form.get_by_role("button", name="Sign offer").click()
        expect(page.locator("#status")).to_contain_text("The offer is signed")
        page.get_by_label("Signed offer", exact=True).fill(page.locator("#offer-made").input_value())
        expect(page.locator("#offer-read")).to_contain_text("Signaturethe maker's")
    assert held(web_stack, safe, class_id) == 5_000
