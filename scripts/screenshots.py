"""`python -m scripts.screenshots`: pictures of the operator's page for the README, from a real node at work.

Needs Chromium and Playwright. Chain, node and jobs are those of a local stack; without a GPU its readings are
a replayed trace, and the page says so.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from demo import stack
from demo.stack import Stack
from demo.stack_config import Options
from scrip import redeem
from scrip.amounts import parse_units
from scrip.buying import buy
from scrip.errors import ScripError
from scrip.spec import JobSpec

CHROMIUM: Final = "/usr/bin/chromium"
ROOT: Final = Path(__file__).resolve().parents[1]
IMAGES: Final = ROOT / "docs" / "images"
SIZE: Final = (1280, 1180)
MOST_BYTES: Final = 150_000
WAIT_MS: Final = 120_000
TEXT: Final = ROOT / "docs" / "scrip.txt"
QUESTION: Final = "Where is the money kept until the work is done?"


@contextmanager
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Headless Chromium. It runs as root in containers, where its own sandbox can't."""
    made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    try:
        yield made
    finally:
        made.close()


def token_of(up: Stack) -> str:
    """The provider's operator token."""
    return (up.layout.state("provider") / "operator.token").read_text("ascii").strip()


def sign_in(page: Page, url: str, token: str) -> None:
    """Open the operator's page of the node at `url`."""
    page.goto(f"{url}/operator")
    page.get_by_label("Operator token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def main(arguments: Sequence[str]) -> int:
    """Make the pictures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description="Make pictures.")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    try:
        with (
            stack.running(Options(slots=3)) as up,
            sync_playwright() as playwright,
            browser(playwright) as chrome,
        ):
            up.start_nodes()
            _buy(up)
            page = chrome.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            sign_in(page, up.provider_url, token_of(up))
            _work(up, page)
            for scheme in ("light", "dark"):
                _picture(page, out / f"operator-{scheme}.png", scheme)
    except ScripError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _buy(up: Stack) -> None:
    wanted = {
        up.classes.llm: 2_000,
        up.classes.cpu: parse_units("300", 3),
        up.classes.gpu: parse_units("300", 3),
    }
    for class_id, units in wanted.items():
        buy(up.chain, up.sender("buyer"), up.accounts["buyer"], class_id, units)


def _work(up: Stack, page: Page) -> None:
    """Three rounds of jobs to the end, then one that is seen at work."""
    for number in range(3):
        jobs = [_open(up, *job) for job in _round(up, number)]
        for plan in jobs:
            redeem.follow(up.chain, plan.job_id, timeout=180, since=plan.since)
    expect(page.locator("#tile-settled")).to_have_text("9", timeout=WAIT_MS)
    expect(page.locator("#costs tbody tr")).to_have_count(1, timeout=WAIT_MS)
    long = {"seed": "0x" + "77" * 32, "size": 512, "rounds": 256}
    _open(up, up.classes.gpu, JobSpec("matmul.int8", long), parse_units("120", 3))
    expect(page.locator(".gpu h3")).to_contain_text("running", timeout=WAIT_MS)
    for job in _round(up, 9)[1:]:
        _open(up, *job)
    expect(page.locator("#receipts tbody tr").first).to_be_visible(timeout=WAIT_MS)


def _round(up: Stack, number: int) -> list[tuple[int, JobSpec, int]]:
    """Class, work and most units of a job of each kind."""
    seed = f"0x{number:064x}"
    asked = {"question": QUESTION, "context": TEXT.read_text("utf-8"), "max_tokens": 48}
    return [
        (up.classes.gpu, JobSpec("matmul.int8", {"seed": seed, "size": 512, "rounds": 20}), 30_000),
        (up.classes.llm, JobSpec("llm.generate", asked), 48),
        (up.classes.cpu, JobSpec("hash.chain", {"seed": seed, "steps": 3_000_000}), 30_000),
    ]


def _open(up: Stack, class_id: int, spec: JobSpec, most: int) -> redeem.Plan:
    buyer = up.accounts["buyer"].address
    planned = redeem.plan(up.chain, buyer, up.provider, class_id, spec, most, finish_seconds=600)
    redeem.open_job(up.chain, up.sender("buyer"), planned)
    return planned


def _picture(page: Page, path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    threading.Event().wait(2)  # rows that came just now fade in
    page.screenshot(path=path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ScripError(f"{path.name} has {size} bytes, more than {MOST_BYTES}. Make the picture smaller")
    print(f"{path}: {size} bytes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
