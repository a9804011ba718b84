"""Evidence bundles, as far as they can be had, held against the receipts of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scrip.audit.book import Problem, settlements
from scrip.bundle import MAX_BUNDLE_BYTES, Bundle
from scrip.errors import EvidenceInvalid, Refused
from scrip.evidence import verify_bundle
from scrip.provider_client import ProviderUnreachable, fetch_bundle
from scrip.types import JobTerms, Receipt

Source = Callable[[str], Bundle | None]
"""The bundle of a job (its id in hex), None if it can't be had. Raises EvidenceInvalid."""
ENDINGS: Final = (".json", ".bundle")


def source(where: str, auth: Any = None) -> Source:
    """Bundles from a folder with `<job id>.json`, or from a provider's URL, which shows them to parties."""
    if not where.startswith(("http://", "https://")):
        return lambda job: _read(Path(where), job)
    return lambda job: _fetch(f"{where.rstrip('/')}/jobs/{job}/evidence", auth)


def problems(path: Path, header: Mapping[str, Any], bundles: Source) -> Iterator[Problem | None]:
    """A problem for each bundle that isn't its receipt's evidence; None for each that was had and is."""
    chain_id, market = int(header["chainId"]), header["contracts"]["JobMarket"]
    for number, line in settlements(path):
        if line["type"] != "job" or line["receipt"] is None:
            continue
        try:
            bundle = bundles(line["job"])
            if bundle is None:
                continue
            verify_bundle(
                bundle, chain_id=chain_id, market=market, job_nonce=int(line["nonce"]),
                terms=JobTerms.from_json(line["terms"]), receipt=Receipt.from_json(line["receipt"]),
            )  # fmt: skip
        except EvidenceInvalid as invalid:
            yield Problem(number, f"bundle.{invalid.check}", invalid.detail)
        else:
            yield None


def _read(folder: Path, job: str) -> Bundle | None:
    for ending in ENDINGS:
        try:
            with (folder / (job + ending)).open("rb") as file:
                return Bundle.decode(file.read(MAX_BUNDLE_BYTES + 1))
        except OSError:
            continue
    return None


def _fetch(url: str, auth: Any) -> Bundle | None:
    try:
        return fetch_bundle(url, auth=auth)
    except (Refused, ProviderUnreachable):
        return None
