"""The dApp page in headless Chromium against contracts on Anvil: what it does without a provider."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.stack import Stack
from scrip.eip712 import job_id
from scrip.offers import SignedOffer
from scrip.types import JobTerms
from tests.integration.web_place import Host, Wallet, connect, fill_purchase, give, visit, wallet_of

CREDITS = 1_000
"""Base units of a credit of CPU-seconds."""

ANNOUNCED_ONLY = """
(() => {
  const provider = window.ethereum;
  delete window.ethereum;
  const detail = { info: { uuid: "1", name: "Announced wallet" }, provider };
  window.addEventListener("eip6963:requestProvider", () =>
    window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail })));
})();
"""


def held(stack: Stack, name: str, class_id: int) -> int:
    return stack.chain.at().balance(str(stack.accounts[name].address), class_id)


def dollars(stack: Stack, name: str) -> int:
    return stack.chain.at().token_balance(stack.payment_token, str(stack.accounts[name].address))


def test_classes__without_a_wallet__show_terms_price_backing_and_supply(
    browser: Browser, web_host: Host, web_stack: Stack
) -> None:
    with visit(browser, web_host, None) as page:
        card = page.locator(f"[data-class='{web_stack.classes.cpu}']")
        expect(card).to_contain_text("CPU-seconds")
        expect(card).to_contain_text("100 dUSD per million credits")
        card.get_by_text("Terms").click()
        expect(card).to_contain_text("Watcher set")
        expect(page.locator("#class-list article")).to_have_count(3)


def test_buy__with_a_permit__credits_arrive_for_their_price(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    class_id = web_stack.classes.cpu
    before, money = held(web_stack, "buyer", class_id), dollars(web_stack, "buyer")
    with visit(browser, web_host, wallet) as page:
        connect(page)
        fill_purchase(page, class_id, "12.5")
        expect(page.locator("#buy-cost")).to_have_text("0.00125 dUSD")
        page.get_by_role("button", name="Buy").click()
        expect(page.locator("#status")).to_have_text("Bought 12.5 CPU-seconds.")
        expect(page.locator(f"[data-holding='{class_id}']")).to_contain_text("Held")
    assert held(web_stack, "buyer", class_id) - before == 12_500
    assert money - dollars(web_stack, "buyer") == 1_250
    assert wallet.asked.count("eth_signTypedData_v4") == wallet.asked.count("eth_sendTransaction") == 1


def test_connect__wallet_that_only_announces_itself__is_found_and_followed(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    other = str(web_stack.accounts["stranger"].address)
    with visit(browser, web_host, wallet, script=ANNOUNCED_ONLY) as page:
        connect(page)
        expect(page.locator("#account")).to_have_text(wallet.account.address)
        page.evaluate("account => window.__emit('accountsChanged', [account])", other)
        expect(page.locator("#account")).to_have_text(other)
        page.evaluate("() => window.__emit('accountsChanged', [])")
        expect(page.locator("#account")).to_have_text("No wallet connected")


def test_transfer__credits__change_hands(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    class_id, to = web_stack.classes.cpu, str(web_stack.accounts["stranger"].address)
    give(web_stack, "buyer", class_id, 5 * CREDITS)
    before = held(web_stack, "stranger", class_id)
    with visit(browser, web_host, wallet) as page:
        connect(page)
        form = page.locator("#transfer-form")
        form.get_by_label("Class").select_option(str(class_id))
        form.get_by_label("Credits").fill("1.25")
        form.get_by_label("Recipient").fill(to)
        form.get_by_role("button", name="Transfer").click()
        expect(page.locator("#status")).to_contain_text("Sent 1.25 CPU-seconds")
    assert held(web_stack, "stranger", class_id) - before == 1_250


def test_budgets__created_and_revoked__as_the_chain_has_them(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    spender, provider = str(web_stack.accounts["stranger"].address), web_stack.provider
    budgets = web_stack.chain.contract("SpendingBudgets").functions
    budget_id = int(budgets.budgetCount().call()) + 1
    with visit(browser, web_host, wallet) as page:
        connect(page)
        form = page.locator("#budget-form")
        form.get_by_label("Spender").fill(spender)
        form.get_by_label("Most per action").fill("1.5")
        form.get_by_label("Most in all").fill("20")
        form.get_by_label("Period in seconds").fill("3600")
        form.get_by_label("Providers").fill(provider)
        form.get_by_role("button", name="Create budget").click()
        card = page.locator(f"[data-budget='{budget_id}']")
        expect(card).to_contain_text("in force")
        expect(card).to_contain_text("1.5 dUSD")
        _, _, _, _, revoked, limits, *_ = budgets.budgetOf(budget_id).call()
        assert (revoked, limits) == (False, (spender, 1_500_000, 2**96 - 1, 20_000_000, 3_600, 0, True))
        assert budgets.isListed(budget_id, provider).call()
        card.get_by_role("button", name=f"Revoke budget {budget_id}").click()
        expect(card).to_contain_text("revoked")
    assert budgets.budgetOf(budget_id).call()[4]


def make_offer(page: Page, side: str, class_id: int, credits: str, price: str) -> str:
    form = page.locator("#offer-form")
    form.get_by_label("You").select_option(side)
    form.get_by_label("Class").select_option(str(class_id))
    form.get_by_label("Credits").fill(credits)
    form.get_by_label("Price of all").fill(price)
    form.get_by_role("button", name="Sign offer").click()
    expect(page.locator("#status")).to_contain_text("The offer is signed")
    return page.locator("#offer-made").input_value()


@pytest.mark.parametrize(("side", "sign"), [("sell", 1), ("buy", -1)])
def test_offer__made_here_and_filled_by_another__credits_and_money_change_hands(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, side: str, sign: int
) -> None:
    class_id = web_stack.classes.cpu
    for name in ("buyer", "stranger"):
        give(web_stack, name, class_id, 10 * CREDITS)
    with visit(browser, web_host, wallet) as page:
        connect(page)
        text = make_offer(page, side, class_id, "8", "0.5")
    SignedOffer.from_json(json.loads(text))  # what the command line reads, too
    credits, money = held(web_stack, "stranger", class_id), dollars(web_stack, "stranger")
    with visit(browser, web_host, wallet_of(web_stack, "stranger")) as page:
        connect(page)
        form = page.locator("#offer-take")
        form.get_by_label("Signed offer").fill(text)
        expect(page.locator("#offer-read")).to_contain_text("Signaturethe maker's")
        form.get_by_label("Credits to take").fill("4")
        form.get_by_role("button", name="Fill offer").click()
        expect(page.locator("#status")).to_have_text("Filled 4 CPU-seconds.")
        expect(page.locator("#offer-read")).to_contain_text("4 CPU-seconds")
    assert held(web_stack, "stranger", class_id) - credits == sign * 4 * CREDITS
    assert dollars(web_stack, "stranger") - money == -sign * 250_000


def test_offer__cancelled_by_its_maker__can_no_longer_be_filled(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    class_id = web_stack.classes.cpu
    give(web_stack, "buyer", class_id, 2 * CREDITS)
    give(web_stack, "stranger", class_id, CREDITS)
    with visit(browser, web_host, wallet) as page:
        connect(page)
        text = make_offer(page, "sell", class_id, "1", "0.5")
        page.locator("#offer-take").get_by_label("Signed offer").fill(text)
        page.get_by_role("button", name="Cancel offer").click()
        expect(page.locator("#status")).to_have_text("The offer is cancelled.")
    with visit(browser, web_host, wallet_of(web_stack, "stranger")) as page:
        connect(page)
        page.locator("#offer-take").get_by_label("Signed offer").fill(text)
        expect(page.locator("#offer-read")).to_contain_text("cancelled")
        page.get_by_role("button", name="Fill offer").click()
        expect(page.get_by_role("alert")).to_contain_text("The maker withdrew the offer: choose another.")


def test_offer__changed_after_it_was_signed__is_called_out(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    give(web_stack, "buyer", web_stack.classes.cpu, CREDITS)
    with visit(browser, web_host, wallet) as page:
        connect(page)
        signed = json.loads(make_offer(page, "sell", web_stack.classes.cpu, "1", "0.5"))
        signed["offer"]["price"] = "1"
        page.locator("#offer-take").get_by_label("Signed offer").fill(json.dumps(signed))
        expect(page.locator("#offer-read")).to_contain_text("NOT the maker's")


def test_job__not_accepted_yet__its_payer_takes_the_credits_back(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    class_id, chain = web_stack.classes.cpu, web_stack.chain
    give(web_stack, "buyer", class_id, 2 * CREDITS)
    now = chain.at().time()
    terms = JobTerms(
        payer=wallet.account.address, provider=web_stack.provider, class_id=class_id, max_units=2 * CREDITS,
        resources=1, accept_by=now + 600, submit_by=now + 1_200, spec_hash=b"\1" * 32, budget_id=0, salt=now,
    )  # fmt: skip
    call = chain.contract("JobMarket").functions.open(terms.to_abi(), b"")
    web_stack.sender("buyer").send(call, label="open")
    job = job_id(terms, chain.chain_id, chain.address("JobMarket"))
    with visit(browser, web_host, wallet) as page:
        connect(page)
        page.get_by_role("button", name=f"Show job 0x{job.hex()}").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.locator("#job-view")).to_contain_text("cancelled")
    assert chain.at().locked(wallet.account.address, class_id) == 0
