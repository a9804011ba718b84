"""Submits written inputs to Sourcify (API v2) or Etherscan (API v2) and waits for what they say.

Sourcify: https://docs.sourcify.dev/docs/api; Etherscan:
https://docs.etherscan.io/contract-verification/verify-with-api.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from scrip.errors import NodeUnavailable
from scripts.verification import Entry, VerificationFailed

SOURCIFY = "https://sourcify.dev/server"
ETHERSCAN = "https://api.etherscan.io/v2/api"
POLL_SECONDS, MOST_POLLS = 3.0, 100
TIMEOUT_SECONDS = 60.0


class Explorer(Protocol):
    """Where sources are published."""

    def submit(self, chain_id: int, entry: Entry, source: str) -> str:
        """Publish one contract's sources and return how it matched. Raises VerificationFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Sourcify:
    """Sourcify's API, or another server that speaks it."""

    url: str = SOURCIFY
    sleep: Callable[[float], object] = time.sleep

    def submit(self, chain_id: int, entry: Entry, source: str) -> str:
        """See Explorer. What is verified already isn't sent again."""
        known = _ask("GET", f"{self.url}/v2/contract/{chain_id}/{entry.address}", missing={})
        if known.get("match") == "exact_match":
            return "exact_match (known before)"
        body = {
            "stdJsonInput": json.loads(source),
            "compilerVersion": entry.compiler,
            "contractIdentifier": entry.identifier,
            "creationTransactionHash": entry.creation_transaction,
        }
        job = _ask("POST", f"{self.url}/v2/verify/{chain_id}/{entry.address}", json=body)
        for _ in range(MOST_POLLS):
            state = _ask("GET", f"{self.url}/v2/verify/{job['verificationId']}")
            if state["isJobCompleted"]:
                return self._outcome(entry, state)
            self.sleep(POLL_SECONDS)
        raise VerificationFailed(f"{entry.name}: Sourcify didn't finish {job['verificationId']} in time")

    def _outcome(self, entry: Entry, state: Mapping[str, Any]) -> str:
        if error := state.get("error"):
            raise VerificationFailed(f"{entry.name}: Sourcify says {error.get('message', error)}")
        match: str | None = state["contract"]["match"]
        if match is None:
            raise VerificationFailed(f"{entry.name}: Sourcify found no match")
        return match


@dataclass(frozen=True, slots=True)
class Etherscan:
    """Etherscan's API: one address for every chain it knows, with an API key."""

    key: str
    url: str = ETHERSCAN
    sleep: Callable[[float], object] = time.sleep

    def submit(self, chain_id: int, entry: Entry, source: str) -> str:
        """See Explorer."""
        form = {
            "contractaddress": entry.address,
            "sourceCode": source,
            "codeformat": "solidity-standard-json-input",
            "contractname": entry.identifier,
            "compilerversion": f"v{entry.compiler}",
            "constructorArguments": entry.constructor_arguments.removeprefix("0x"),
        }
        given = self._call(chain_id, "POST", "verifysourcecode", form)
        if given["status"] != "1":
            return self._told(entry, given["result"])
        for _ in range(MOST_POLLS):
            state = self._call(chain_id, "GET", "checkverifystatus", {"guid": given["result"]})
            if "pending" not in state["result"].lower():
                return self._told(entry, state["result"])
            self.sleep(POLL_SECONDS)
        raise VerificationFailed(f"{entry.name}: Etherscan didn't finish {given['result']} in time")

    def _call(self, chain_id: int, method: str, action: str, fields: Mapping[str, str]) -> dict[str, Any]:
        query = {"chainid": str(chain_id), "module": "contract", "action": action, "apikey": self.key}
        if method == "POST":
            return _ask(method, self.url, params=query, data=fields)
        return _ask(method, self.url, params={**query, **fields})

    def _told(self, entry: Entry, result: str) -> str:
        if "verified" not in result.lower() or "unable" in result.lower():
            raise VerificationFailed(f"{entry.name}: Etherscan says {result}")
        return result


def submit_all(
    explorer: Explorer, chain_id: int, entries: list[Entry], folder: Path
) -> list[tuple[str, str]]:
    """(contract, how it matched) of every contract, in order. Raises VerificationFailed, NodeUnavailable."""
    return [
        (entry.name, explorer.submit(chain_id, entry, (folder / f"{entry.name}.json").read_text("utf-8")))
        for entry in entries
    ]


def _ask(method: str, url: str, *, missing: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    host = httpx.URL(url).host
    try:
        answer = httpx.request(method, url, timeout=TIMEOUT_SECONDS, **options)
    except httpx.HTTPError as error:
        raise NodeUnavailable(host, type(error).__name__) from None
    if answer.status_code == httpx.codes.NOT_FOUND and missing is not None:
        return missing
    try:
        data = answer.json()
    except ValueError:
        data = {}
    if answer.is_error or not isinstance(data, dict):
        told = data.get("message", "") if isinstance(data, dict) else ""
        raise VerificationFailed(f"{host} answers {answer.status_code} {told}".strip())
    return data
