"""Joins the parts of the operator's page of a provider's node."""

from __future__ import annotations

import logging
from typing import Final

from oracle.health import Pulse
from oracle.logging import get
from oracle.node import ProviderNode
from oracle.operator.access import PATH, Access
from oracle.operator.api import OperatorSite
from oracle.operator.faults import LogTail
from oracle.operator.feed import Feed
from oracle.operator.figures import ChainFigures
from oracle.operator.page import Page, PageParts
from oracle.secret_file import load_secret

TOKEN: Final = "operator.token"  # noqa: S105 (a file's name)

_log = get(__name__)


def open_site(node: ProviderNode, pulse: Pulse) -> OperatorSite:
    """The page of a node; from here on it sees what is logged. Raises SecretProblem."""
    base = node.base
    settings, rules = base.settings, base.settings.operator
    path = rules.token_file or settings.state_dir / TOKEN
    access = Access(load_secret(path), settings.api.public_url)
    tail, root = LogTail(), logging.getLogger()
    root.addHandler(tail)
    base.cleanup.callback(root.removeHandler, tail)
    parts = PageParts(
        settings=settings, store=base.store, metrics=base.metrics, pulse=pulse, gpus=node.latest,
        standing=node.quorum.standing, figures=ChainFigures(base.facts, settings.of_provider().address),
        log=tail, oracle=None if base.account is None else base.account.address,
        chain_id=base.chain.chain_id,
    )  # fmt: skip
    _log.info("operator page", path=PATH, token_file=str(path))
    return OperatorSite(access, Feed(Page(parts), node.stopping.is_set, rules.viewers))
