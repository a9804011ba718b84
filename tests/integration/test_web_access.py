"""The dApp page for everybody: by keyboard alone, for screen readers, on a phone, in the dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.stack import Stack
from scrip.buying import buy
from tests.integration.web_place import Host, Wallet, connect, fill_purchase, give, rest, visit

ROOT = Path(__file__).resolve().parents[2]
AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text()
MOST_TABS = 40
PHONE = {"width": 360, "height": 740}


def serious(page: Page) -> list[tuple[str, list[Any]]]:
    """What axe-core finds that keeps people out: rule and places."""
    page.evaluate(AXE)
    found = page.evaluate("() => axe.run()")
    assert len(found["passes"]) > 20, "axe found little to look at"
    return [
        (one["id"], [node["target"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus, and see that it shows."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
            outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineWidth")
            assert float(outline.removesuffix("px")) >= 2
            return
    raise AssertionError(f"no {selector} within {MOST_TABS} tabs")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page__in_use__has_no_serious_violation_of_accessibility(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, scheme: Any
) -> None:
    give(web_stack, "buyer", web_stack.classes.cpu, 1_000)
    wallet.refuses.add("eth_signTypedData_v4")
    with visit(browser, web_host, wallet, color_scheme=scheme) as page:
        connect(page)
        page.get_by_text("Terms").first.click()
        fill_purchase(page, web_stack.classes.cpu, "1")
        page.get_by_role("button", name="Buy").click()
        page.get_by_role("alert").wait_for()
        expect(page.locator("[data-holding]").first).to_be_visible()
        assert serious(page) == []
        fill_purchase(page, web_stack.classes.cpu, "1,5")
        page.get_by_role("button", name="Buy").click()
        expect(page.locator("[aria-invalid]")).to_be_focused()
        assert serious(page) == []
        red, *_ = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
    assert (int(red) < 64) == (scheme == "dark")


def test_axe__page_that_keeps_people_out__is_caught(browser: Browser, web_host: Host) -> None:
    with visit(browser, web_host, None) as page:
        expect(page.locator("#class-list article")).to_have_count(3)
        expect(page.locator("#status")).to_be_empty()
        page.evaluate(
            "() => document.querySelector('#buy-form label').replaceWith(document.createElement('input'))"
        )
        page.evaluate(
            "() => { document.querySelector('#status').style.cssText = 'color: #eee; background: #fff' }"
        )
        page.evaluate("() => { document.querySelector('#status').textContent = 'pale' }")
        assert {"label", "color-contrast"} <= {rule for rule, _ in serious(page)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page__as_wide_as_a_phone__never_scrolls_sideways(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet, scheme: Any
) -> None:
    give(web_stack, "buyer", web_stack.classes.cpu, 1_000)
    with visit(browser, web_host, wallet, viewport=PHONE, color_scheme=scheme) as page:
        connect(page)
        for terms in page.get_by_text("Terms").all():
            terms.click()
        expect(page.locator("[data-holding]").first).to_be_visible()
        width = page.evaluate("() => document.documentElement.scrollWidth")
        beyond = page.evaluate(
            "() => [...document.querySelectorAll('main *')]"
            ".filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML)"
        )
    assert (width, beyond) == (PHONE["width"], [])


def test_slip__on_a_phone__its_field_is_not_under_the_notices(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    with visit(browser, web_host, wallet, viewport=PHONE) as page:
        connect(page)
        form = page.locator("#budget-form")
        form.get_by_label("Spender").fill("0x12")
        form.get_by_role("button", name="Create budget").click()
        field = form.get_by_label("Spender")
        expect(field).to_be_focused()
        expect(form.locator(".slip")).to_have_text(
            "Spender: must be an address, copied whole: 0x and 40 hex digits."
        )
        ours, notices = field.bounding_box(), page.locator(".notices").bounding_box()
        assert ours is not None
        assert notices is not None
        assert notices["y"] + notices["height"] <= ours["y"] < PHONE["height"] - ours["height"]


def test_buy__by_keyboard_alone__works_and_is_told_to_screen_readers(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    class_id, buyer = web_stack.classes.cpu, wallet.account.address
    before = web_stack.chain.at().balance(buyer, class_id)
    with visit(browser, web_host, wallet) as page:
        expect(page.locator("#class-list article")).to_have_count(3)
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Skip to content"
        tab_to(page, "#connect")
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text("Connected.")
        rest(page)
        tab_to(page, "#buy-form select")
        page.keyboard.type(str(class_id))
        tab_to(page, "#buy-form input")
        page.keyboard.type("4")
        page.keyboard.press("Enter")
        status = page.locator("#status")
        expect(status).to_have_text("Bought 4 CPU-seconds.")
        assert (status.get_attribute("role"), status.get_attribute("aria-live")) == ("status", "polite")
    assert web_stack.chain.at().balance(buyer, class_id) - before == 4_000


def test_page__read_anew__keeps_what_was_opened_and_the_focus(
    browser: Browser, web_host: Host, web_stack: Stack, wallet: Wallet
) -> None:
    class_id, buyer = web_stack.classes.cpu, web_stack.accounts["buyer"]
    with visit(browser, web_host, wallet) as page:
        card = page.locator(f'#class-list [data-class="{class_id}"]')
        connect(page)
        supply = card.locator("dd").nth(1)
        before = supply.inner_text()
        card.locator("summary").focus()
        page.keyboard.press("Enter")
        buy(web_stack.chain, web_stack.sender("buyer"), buyer, class_id, 1_000)
        page.evaluate("account => window.__emit('accountsChanged', [account])", wallet.account.address)
        expect(supply).not_to_have_text(before)
        assert card.locator("details").evaluate("one => one.open")
        assert page.evaluate("() => document.activeElement.matches('summary')")


def test_problem__dismissed_by_keyboard__goes_away(browser: Browser, web_host: Host) -> None:
    with visit(browser, web_host, None) as page:
        expect(page.locator("#class-list article")).to_have_count(3)
        tab_to(page, "#connect")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        tab_to(page, "#dismiss")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("#connect")).to_be_focused()
