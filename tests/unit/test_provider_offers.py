"""What a provider's registration file may say, and what of it is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scrip.provider_client import ProviderClient, ProviderUnreachable, discover
from tests.unit.cli_fakes import provider_info
from tests.unit.evidence_factory import SPEC, make_terms


def answering(data: Any) -> httpx.MockTransport:
    handler: Callable[[httpx.Request], httpx.Response] = lambda request: httpx.Response(200, json=data)  # noqa: E731
    return httpx.MockTransport(handler)


def file(**changes: Any) -> dict[str, Any]:
    return {"name": "p", "services": [{"name": "scrip", "endpoint": "https://p.example"}]} | changes


def test_discover__flags_of_erc_8004__are_read() -> None:
    said = file(active=False, x402Support=True, supportedTrust=["crypto-economic", 7, "watchers"])
    offer = discover(provider_info(), transport=answering(said))
    assert (offer.active, offer.x402, offer.trust) == (False, True, ("crypto-economic", "watchers"))


def test_discover__file_says_nothing_of_them__is_active_and_no_more() -> None:
    offer = discover(provider_info(), transport=answering(file(x402Support="yes", supportedTrust="all")))
    assert (offer.active, offer.x402, offer.trust) == (True, False, ())


@pytest.mark.parametrize("endpoint", ["http://[::", "ftp://p", "/relative", "http://", ""])
def test_discover__endpoint_that_is_no_url__is_unreachable(endpoint: str) -> None:
    said = file(services=[{"name": "scrip", "endpoint": endpoint}])
    with pytest.raises(ProviderUnreachable, match="no http or https URL"):
        discover(provider_info(), transport=answering(said))


@pytest.mark.parametrize("quote", [None, 7, "0xzz", "signature"])
def test_quote__answer_that_is_none__is_the_providers_fault(quote: Any) -> None:
    with (
        ProviderClient("http://p.example", transport=answering({"quote": quote})) as client,
        pytest.raises(ProviderUnreachable, match="without a quote"),
    ):
        client.quote(make_terms(), SPEC)
