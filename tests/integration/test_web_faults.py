"""The dApp page when something is wrong: each failure gets a sentence with its next step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from eth_account import Account
from playwright.sync_api import Browser, Page, Route, expect

from demo.stack import USD, Stack
from tests.integration.web_place import Host, Wallet, connect, fill_purchase, visit

UNKNOWN_TO_THE_WALLET = 1


def alert(page: Page) -> str:
    """What the page complains about, once it does."""
    page.get_by_role("alert").wait_for()
    return page.locator("#problem-text").inner_text()


def press_buy(page: Page) -> None:
    page.get_by_role("button", name="Buy").click()


def test_connect__no_wallet__says_what_is_missing(browser: Browser, web_host: Host) -> None:
    with visit(browser, web_host, None) as page:
        page.get_by_role("button", name="Connect wallet").click()
        assert "No wallet was found in this browser: install one" in alert(page)


def test_buy__not_connected__says_so(browser: Browser, web_host: Host, web_stack: Stack) -> None:
    with visit(browser, web_host, None) as page:
        fill_purchase(page, web_stack.classes.cpu, "1")
        press_buy(page)
        assert alert(page) == "Connect a wallet first."


def test_buy__wallet_on_another_chain__offers_to_add_ours_and_goes_on(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    wallet.chain_id = UNKNOWN_TO_THE_WALLET
    with visit(browser, web_host, wallet) as page:
        connect(page)
        expect(page.locator("#account")).to_contain_text("on chain 1: this page is of chain 31337")
        fill_purchase(page, web_stack.classes.cpu, "1")
        press_buy(page)
        assert alert(page) == "Your wallet is on chain 1, this page is of chain 31337."
        assert "eth_signTypedData_v4" not in wallet.asked
        page.get_by_role("button", name="Switch the chain and go on").click()
        expect(page.locator("#status")).to_have_text("Bought 1 CPU-second.")
        assert wallet.chain_id == web_stack.options.chain_id
        assert "wallet_addEthereumChain" in wallet.asked


def test_wallet__on_another_chain__is_switched_from_the_header(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    wallet.chain_id = UNKNOWN_TO_THE_WALLET
    with visit(browser, web_host, wallet) as page:
        connect(page)
        page.get_by_role("button", name="Switch to Local chain").click()
        expect(page.locator("#status")).to_have_text("Your wallet is on Local chain now.")
        expect(page.locator("#account")).to_have_text(wallet.account.address)


@pytest.mark.parametrize("declined", ["eth_requestAccounts", "eth_signTypedData_v4", "eth_sendTransaction"])
def test_wallet__declines__nothing_is_sent_and_trying_again_works(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, declined: str
) -> None:
    wallet.refuses.add(declined)
    with visit(browser, web_host, wallet) as page:
        if declined == "eth_requestAccounts":
            page.get_by_role("button", name="Connect wallet").click()
        else:
            connect(page)
            fill_purchase(page, web_stack.classes.cpu, "2")
            press_buy(page)
        assert alert(page).startswith("You declined the request in your wallet. Nothing was sent")
        wallet.refuses.clear()
        page.get_by_role("button", name="Try again").click()
        done = "Connected." if declined == "eth_requestAccounts" else "Bought 2 CPU-seconds."
        expect(page.locator("#status")).to_have_text(done)
        expect(page.get_by_role("alert")).to_be_hidden()


def test_transfer__more_than_is_held__the_contracts_words_before_the_wallet_is_asked(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    with visit(browser, web_host, wallet) as page:
        connect(page)
        form = page.locator("#transfer-form")
        form.get_by_label("Class").select_option(str(web_stack.classes.gpu))
        form.get_by_label("Credits").fill("1")
        form.get_by_label("Recipient").fill(str(web_stack.accounts["stranger"].address))
        form.get_by_role("button", name="Transfer").click()
        told = alert(page)
    assert "ERC1155 insufficient balance" in told
    assert "wait until those end, or buy more" in told
    assert "eth_sendTransaction" not in wallet.asked


def test_buy__more_than_the_account_can_pay__says_both_amounts(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    with visit(browser, web_host, wallet) as page:
        connect(page)
        fill_purchase(page, web_stack.classes.cpu, "900000000")
        press_buy(page)
        assert alert(page).startswith("This costs 90000 dUSD, the account has ")
    assert "eth_signTypedData_v4" not in wallet.asked


def test_buy__account_without_gas__says_what_to_send_it(
    browser: Browser, web_host: Host, web_stack: Stack
) -> None:
    poor = Wallet(Account.create(), web_stack.anvil, web_stack.options.chain_id)
    mint = web_stack.chain.contract("DemoUSD").functions.mint(poor.account.address, USD)
    web_stack.sender("stranger").send(mint, label="mint")
    with visit(browser, web_host, poor) as page:
        connect(page)
        fill_purchase(page, web_stack.classes.cpu, "1")
        press_buy(page)
        assert "too little of the chain's own coin to pay for gas" in alert(page)


@pytest.mark.parametrize(
    ("credits", "told"), [("", "must be a decimal number"), ("1.23456", "at most 3 digits after the point")]
)
def test_buy__amount_that_is_none__says_what_would_be(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, credits: str, told: str
) -> None:
    with visit(browser, web_host, wallet) as page:
        connect(page)
        fill_purchase(page, web_stack.classes.cpu, credits)
        press_buy(page)
        assert told in alert(page)
        amount = page.locator("#buy-form").get_by_label("Credits")
        expect(amount).to_be_focused()
        expect(amount).to_have_accessible_description(re.compile(told))
        amount.fill("1")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(amount).to_have_accessible_description("")


def test_node__lost_and_back__try_again_goes_on_where_it_was(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    def lose(route: Route) -> None:
        route.abort("connectionrefused")

    with visit(browser, web_host, wallet) as page:
        connect(page)
        fill_purchase(page, web_stack.classes.cpu, "3")
        expect(page.locator("#buy-cost")).to_contain_text("dUSD")
        page.route(lambda url: url.startswith(web_stack.rpc_url), lose)
        press_buy(page)
        assert alert(page) == "The chain's node doesn't answer. Check your connection, then try again."
        page.unroute_all()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#status")).to_have_text("Bought 3 CPU-seconds.")


def test_node__lost_after_sending__is_waited_for_and_nothing_is_sent_twice(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    lost: list[str] = []

    def lose_receipts(route: Route) -> None:
        asked = route.request.post_data or ""
        if "eth_getTransactionReceipt" in asked and len(lost) < 6:
            lost.append(asked)
            route.abort("connectionrefused")
        else:
            route.continue_()

    with visit(browser, web_host, wallet) as page:
        connect(page)
        page.route(lambda url: url.startswith(web_stack.rpc_url), lose_receipts)
        fill_purchase(page, web_stack.classes.cpu, "3")
        press_buy(page)
        expect(page.locator("#status")).to_have_text("Bought 3 CPU-seconds.")
        expect(page.get_by_role("alert")).to_be_hidden()
    assert len(lost) == 6
    assert wallet.asked.count("eth_sendTransaction") == 1


def test_config__missing__says_where_it_belongs(browser: Browser, web_host: Host) -> None:
    config = web_host.folder / "config.json"
    text = config.read_text()
    config.unlink()
    try:
        with visit(browser, web_host, None) as page:
            assert "Put a config.json beside the page" in alert(page)
    finally:
        config.write_text(text)


def test_config__from_the_address__is_used_and_said(
    browser: Browser, web_host: Host, web_stack: Stack
) -> None:
    query = f"?chainId=31337&rpcUrl={web_stack.rpc_url}&deployment=deployment.json"
    with visit(browser, web_host, None, query=query) as page:
        expect(page.locator("#class-list article")).to_have_count(3)
        expect(page.locator("#origin")).to_contain_text("come from the link you followed")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("chainId=31337&deployment=https://elsewhere.example/d.json", "a file on this page's own host"),
        ("chainId=1&deployment=deployment.json", "chainId: given 1, must be the deployment's, 31337"),
        ("chainId=5", "no deployment on chain 5 is known"),
    ],
)  # fmt: skip
def test_config__address_that_can_not_be__is_refused_in_words(
    browser: Browser, web_host: Host, web_stack: Stack, query: str, told: str
) -> None:
    with visit(browser, web_host, None, query=f"?rpcUrl={web_stack.rpc_url}&{query}") as page:
        assert told in alert(page)


def test_offer__text_from_elsewhere__is_shown_as_text(
    browser: Browser, web_host: Host, web_stack: Stack
) -> None:
    evil = json.dumps({"offer": {}, "signature": "<img src=x onerror=alert(1)>"})
    with visit(browser, web_host, None) as page:
        page.locator("#offer-take").get_by_label("Signed offer").fill(evil)
        expect(page.locator("#offer-read")).to_contain_text("<img src=x")
        expect(page.locator("img")).to_have_count(0)


def test_sources__never_parse_html_or_code() -> None:
    sinks = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "onclick=",
    )
    folder = Path(__file__).resolve().parents[2] / "web"
    files = [folder / "index.html", *(folder / "src").glob("*.ts")]
    found = [(file.name, sink) for file in files for sink in sinks if sink in file.read_text()]
    assert found == []
