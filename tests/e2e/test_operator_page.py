"""The operator's page in a real browser: a node with a replayed GPU runs a job, and the page shows it come,
settle and earn, without being loaded again.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo import stack
from demo.stack import Stack
from demo.stack_config import Options
from scrip import redeem
from scrip.amounts import parse_units
from scrip.buying import buy
from scrip.spec import JobSpec
from scripts.screenshots import browser, sign_in, token_of
from tests.conftest import needs_program

MS = 90_000
HASHES = JobSpec("hash.chain", {"seed": "0x" + "5d" * 32, "steps": 200_000})
# More than a second on any machine: the page is told what goes on once a second.
WORK = JobSpec("matmul.int8", {"seed": "0x" + "5c" * 32, "size": 1024, "rounds": 80})
# Everything the page says from now on, so that what it says for a moment isn't missed between two looks.
RECORD = """() => {
  window.said = [];
  const take = () => window.said.push(document.body.innerText);
  new MutationObserver(take).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def up() -> Iterator[Stack]:
    with stack.running(Options(tick_ms=200)) as made:
        made.start_nodes()
        for class_id in (made.classes.gpu, made.classes.cpu):
            buy(made.chain, made.sender("buyer"), made.accounts["buyer"], class_id, parse_units("120", 3))
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    needs_program("chromium")
    with sync_playwright() as playwright, browser(playwright) as made:
        yield made


@pytest.fixture
def page(up: Stack, chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    made = context.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
    sign_in(made, up.provider_url, token_of(up))
    expect(made.locator("#link")).to_have_text("live", timeout=MS)
    yield made
    context.close()
    assert problems == []


def run_job(up: Stack, class_id: int, work: JobSpec) -> str:
    """Open a job; its id as the page shows it."""
    buyer = up.accounts["buyer"].address
    most = parse_units("30", 3)
    plan = redeem.plan(up.chain, buyer, up.provider, class_id, work, most, finish_seconds=600)
    redeem.open_job(up.chain, up.sender("buyer"), plan)
    text = "0x" + plan.job_id.hex()
    return f"{text[:8]}…{text[-6:]}"


def test_job__runs_and_settles__is_seen_without_a_reload(up: Stack, page: Page) -> None:
    page.evaluate(RECORD)
    before = page.locator("#purses tbody").inner_text()
    expect(page.locator(".gpu h3")).to_contain_text("idle", timeout=MS)
    shown = run_job(up, up.classes.gpu, WORK)
    row = page.locator("#jobs tbody tr", has_text=shown)
    expect(row).to_contain_text("settled", timeout=MS)
    said = page.evaluate("window.said")
    assert any("1 running" in text for text in said)
    assert any(re.search(rf"{shown}\s.*\bexecuting\b", text) for text in said)
    expect(row).to_contain_text("GPU-seconds")
    expect(page.locator(".gpu h3")).to_contain_text("idle", timeout=MS)
    expect(page.locator("#purses tbody")).not_to_have_text(before, timeout=MS)
    token = up.payment_token
    earned = up.chain.at().earnings(up.provider, token)
    expect(page.locator("#purses tbody tr")).to_contain_text(f"{earned / 10**6:.6f}".rstrip("0"), timeout=MS)
    assert len(page.evaluate("window.said")) > len(said)


def test_gpu__while_nothing_runs__is_live(page: Page) -> None:
    card = page.locator(".gpu")
    expect(card).to_contain_text(re.compile(r"\d+\.\d W"), timeout=MS)
    expect(card).to_contain_text(re.compile(r"\d+ %"))
    before = card.inner_text()
    expect(card).not_to_have_text(before, timeout=MS)


def test_watchers__one_is_silent__is_named_as_missing_until_it_signs(up: Stack, page: Page) -> None:
    silent = up.nodes[up.options.watcher_names[0]]
    os.kill(silent.pid, signal.SIGSTOP)
    try:
        shown = run_job(up, up.classes.cpu, HASHES)
        receipt = page.locator("#receipts tbody tr", has_text=shown)
        expect(receipt).to_contain_text("watchers are checking", timeout=MS)
        address = up.accounts[silent.name].address
        expect(receipt.locator("td:nth-child(5)")).to_contain_text(address[-6:], timeout=MS)
    finally:
        os.kill(silent.pid, signal.SIGCONT)
    expect(page.locator("#jobs tbody tr", has_text=shown)).to_contain_text("settled", timeout=MS)
    expect(receipt).to_have_count(0, timeout=MS)


def test_node__is_away__page_says_so_and_comes_back(up: Stack, page: Page) -> None:
    up.nodes["provider"].stop()
    expect(page.locator("#link")).not_to_have_text("live", timeout=MS)
    up.start_oracle()
    expect(page.locator("#link")).to_have_text("live", timeout=MS)


def test_page__narrow_and_dark__fits_and_has_headers(up: Stack, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for table in page.locator("table").all():
        assert table.locator("thead th[scope=col]").count() > 1
    live = page.locator("[aria-live]")
    assert live.evaluate_all("all => all.map(one => [one.ariaLive, one.parentElement.id])") == [
        ["polite", "faults"]
    ]


def test_stranger__without_the_token__sees_nothing(up: Stack, chromium: Browser) -> None:
    context = chromium.new_context()
    made = context.new_page()
    answer = made.goto(f"{up.provider_url}/operator")
    assert answer is not None
    assert answer.status == 401
    made.get_by_label("Operator token").fill("0" * 64)
    made.get_by_role("button", name="Sign in").click()
    expect(made.get_by_role("alert")).to_have_text("That isn't this node's operator token.")
    assert httpx.get(f"{up.provider_url}/operator/events", trust_env=False).status_code == 401
    context.close()


def test_sign_out__page_asks_again(up: Stack, page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Operator token")).to_be_visible(timeout=MS)


def test_token__is_private(up: Stack) -> None:
    path = up.layout.state("provider") / "operator.token"
    assert path.stat().st_mode & 0o077 == 0
