"""The dApp page in a real Chromium: a static host, an EIP-1193 wallet whose key stays out of the page."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.anvil import Anvil
from demo.stack import USD, Stack, mint
from tests.conftest import needs_program

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 120
WAIT_MS = 30_000
"""For what takes a block or two, on a machine that does other things as well."""

REJECTED = 4001
UNKNOWN_CHAIN = 4902

# What a wallet's content script does: hand requests out of the page, and answers and events in.
SHIM = """
(() => {
  const listeners = {};
  const request = async ({ method, params }) => {
    const answer = await window.__wallet(method, params ?? []);
    if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.result;
  };
  const on = (event, listener) => void (listeners[event] ??= []).push(listener);
  window.__emit = (event, value) => (listeners[event] ?? []).forEach((listener) => listener(value));
  window.ethereum = { request, on };
})();
"""


class Refusal(Exception):
    """An error of EIP-1193: its code and message."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        self.error = {"code": code, "message": message, **({} if data is None else {"data": data})}
        super().__init__(message)


@dataclass
class Wallet:
    """A wallet for one account: signs with its key here, and sends what it signed to `anvil`.

    `refuses` are methods that its owner declines. `asked` are the methods asked for, in order.
    """

    account: LocalAccount
    anvil: Anvil
    chain_id: int
    refuses: set[str] = field(default_factory=set)
    knows: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def request(self, method: str, params: list[Any]) -> dict[str, Any]:
        """What the wallet answers: a result, or an error of EIP-1193."""
        self.asked.append(method)
        try:
            if method in self.refuses:
                raise Refusal(REJECTED, "User rejected the request.")
            return {"result": self._answer(method, params)}
        except Refusal as refusal:
            return {"error": refusal.error}

    def _answer(self, method: str, params: list[Any]) -> Any:
        if method in ("eth_requestAccounts", "eth_accounts"):
            return [self.account.address]
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_signTypedData_v4":
            return (
                "0x" + bytes(self.account.sign_typed_data(full_message=json.loads(params[1])).signature).hex()
            )
        if method == "eth_sendTransaction":
            return self._send(params[0])
        if method == "wallet_switchEthereumChain":
            return self._switch(int(params[0]["chainId"], 16))
        if method == "wallet_addEthereumChain":
            self.knows.add(int(params[0]["chainId"], 16))
            return None
        return self._rpc(method, *params)

    def _switch(self, chain_id: int) -> None:
        if chain_id not in self.knows | {self.chain_id}:
            raise Refusal(UNKNOWN_CHAIN, "Unrecognized chain ID.")
        self.chain_id = chain_id

    def _send(self, call: dict[str, str]) -> str:
        sender = self.account.address
        gas = int(self._rpc("eth_estimateGas", call | {"from": sender}), 16)
        price = int(self._rpc("eth_gasPrice"), 16)
        transaction = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": int(self._rpc("eth_getTransactionCount", sender, "pending"), 16),
            "to": call["to"],
            "data": call["data"],
            "value": int(call.get("value", "0x0"), 16),
            "gas": gas * 5 // 4,
            "maxFeePerGas": 2 * price + 10**9,
            "maxPriorityFeePerGas": 10**9,
        }
        signed = self.account.sign_transaction(transaction)
        return str(self._rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))

    def _rpc(self, method: str, *params: object) -> Any:
        try:
            return self.anvil.rpc(method, *params)
        except Exception as error:
            raise Refusal(-32603, str(error)) from error


def wallet_of(stack: Stack, name: str) -> Wallet:
    """The wallet of an account of a stack."""
    return Wallet(stack.accounts[name], stack.anvil, stack.options.chain_id)


def give(stack: Stack, name: str, class_id: int, units: int) -> None:
    """Have an account of a stack buy credits, in base units, without the page."""
    sender, reserve = stack.sender(name), stack.chain.contract("CreditReserve")
    cost = int(reserve.functions.costOf(class_id, units).call())
    mint(stack.chain, sender, cost + USD)
    sender.send(stack.chain.contract("DemoUSD").functions.approve(reserve.address, cost), label="approve")
    sender.send(reserve.functions.buy(class_id, units, sender.address, cost), label="buy")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless. Skips where it isn't installed."""
    program = needs_program("chromium")
    # Tests run as root and in containers: there is neither a sandbox nor a large /dev/shm.
    options = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=options)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Host:
    """A static host of the page, at an address that `url` gives."""

    folder: Path
    url: str

    def configure(self, stack: Stack) -> None:
        """Put `config.json` for a stack's chain beside the page, and `deployment.json`, which it names."""
        data = (stack.layout.deployments / f"{stack.options.chain_id}.json").read_text()
        (self.folder / "deployment.json").write_text(data)
        config = {
            "chainId": stack.options.chain_id,
            "chainName": "Local chain",
            "rpcUrl": stack.rpc_url,
            "deployment": "deployment.json",
        }
        (self.folder / "config.json").write_text(json.dumps(config))


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Silence."""


@contextlib.contextmanager
def hosted(folder: Path) -> Iterator[Host]:
    """The page, built from its sources into `folder` and served below a path, as a static host may do."""
    place = folder / "some" / "path"
    command = ["node", "web/build.mjs", str(place)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Host(place, f"http://127.0.0.1:{server.server_port}/some/path/")
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def visit(
    browser: Browser, host: Host, wallet: Wallet | None, *, query: str = "", script: str = "", **context: Any
) -> Iterator[Page]:
    """The page in a fresh profile, with the wallet in it. Fails on errors that the page didn't handle.

    `script` runs before the page's own, `context` holds options of Playwright's `new_context`.
    """
    with contextlib.closing(browser.new_context(**context)) as profile:
        page = profile.new_page()
        page.set_default_timeout(WAIT_MS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda told: _keep_violations(problems, told.text))
        if wallet is not None:
            page.expose_function("__wallet", wallet.request)
            page.add_init_script(SHIM + script)
        page.goto(host.url + query)
        try:
            yield page
        finally:
            page.unroute_all(behavior="wait")  # a handler at work can't answer a page that is gone
        assert problems == []


def _keep_violations(problems: list[str], text: str) -> None:
    if "Content Security Policy" in text:
        problems.append(text)


def rest(page: Page) -> None:
    """Wait until the page reads nothing any more that nobody asked for."""
    expect(page.locator("body:not([data-reading])")).to_have_count(1, timeout=WAIT_MS)


def connect(page: Page) -> None:
    """Connect the wallet, and let the page read what it holds."""
    page.get_by_role("button", name="Connect wallet").click()
    page.locator("#status").get_by_text("Connected.").wait_for()
    rest(page)


def fill_purchase(page: Page, class_id: int, credits: str) -> None:
    """Fill the form for buying."""
    form = page.locator("#buy-form")
    form.get_by_label("Class").select_option(str(class_id))
    form.get_by_label("Credits").fill(credits)
