"""A provider's books as it shows them to a watcher: signed receipts, and what deterministic calls were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from oracle import fetch
from oracle.facts import Facts
from oracle.rerun import Unable
from scrip.call_receipts import SignedCallReceipt, model_id
from scrip.eip712 import Wallet
from scrip.errors import BadInput, NotFound, Refused
from scrip.provider_client import ProviderUnreachable
from scrip.rates import Rate
from scrip.session_api import CallBody, SessionApi
from scrip.signed_requests import SignedBy
from scrip.types_spending import SessionTerms

Returned = TypeVar("Returned")


class ProviderBooks:
    """One session at its provider, asked by a watcher. Every method raises Unable if it isn't shown now."""

    def __init__(self, facts: Facts, account: Wallet, session: bytes, terms: SessionTerms) -> None:
        self._session, self._class_id = session, terms.class_id
        endpoint = fetch.origin(facts.provider_uri(terms.provider))
        if not endpoint:
            raise Unable(f"{terms.provider} is registered at no URL")
        self._oracle = facts.oracle(terms.provider)
        self._place = facts.chain.chain_id, facts.chain.address("MeteredSessions")
        self._api = SessionApi(endpoint, auth=SignedBy(account, facts.chain.chain_id, facts.market))
        self._rates: dict[bytes, Rate] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def receipts(self, after: int) -> Iterator[SignedCallReceipt]:
        """Receipts from the one that follows number `after` on, each signed by the provider's oracle key.

        Raises ReceiptWrong for one that isn't: the key may be another one now, which proves nothing.
        """
        shown = self._api.calls(self._session, after)
        while (signed := self._asked(lambda: next(shown, None))) is not None:
            self.check_signer(signed)
            if signed.receipt.session_id != self._session:
                raise Unable("the provider shows receipts of another session")
            yield signed

    def check_signer(self, signed: SignedCallReceipt) -> None:
        """Raise ReceiptWrong unless the provider's oracle key signed the receipt."""
        signed.check_signer(self._oracle, *self._place)

    def body(self, number: int) -> CallBody | None:
        """What a call asked and was answered, None if the provider says that it doesn't keep it."""
        try:
            return self._asked(lambda: self._api.call_body(self._session, number))
        except NotFound:
            return None

    def rate(self, model: bytes) -> Rate | None:
        """What a model costs by the provider's rate card."""
        if self._rates is None:
            offered = self._asked(lambda: self._api.gateway().rates(self._class_id))
            self._rates = {model_id(name): rate for name, rate in offered.items()}
        return self._rates.get(model)

    def _asked(self, ask: Callable[[], Returned]) -> Returned:
        try:
            return ask()
        except (ProviderUnreachable, Refused, BadInput) as error:
            raise Unable(f"not shown: {error}") from error
