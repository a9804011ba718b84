"""Puts the shop together: the only module of this package that a node without the SDK never imports."""

from __future__ import annotations

import threading

from oracle.desk import Desk
from oracle.facts import Facts
from oracle.gateway.accounts import Accounts
from oracle.outbox import Outbox
from oracle.settings import Settings
from oracle.settings_x402 import X402Settings
from oracle.store import Store
from oracle.tasks import Tasks
from oracle.x402.facilitator import CreditEscrowScheme, ExactScheme, facilitator
from oracle.x402.job import JobPayments
from oracle.x402.payments import Kind, Payments
from oracle.x402.sale import Sales
from oracle.x402.settlements import Settlements, Steps
from oracle.x402.shop import Shop
from oracle.x402.voucher import VoucherPayments


def open_shop(
    settings: Settings,
    rules: X402Settings,
    store: Store,
    facts: Facts,
    desk: Desk,
    outbox: Outbox,
    tasks: Tasks,
    account: str | None,
    accounts: Accounts | None,
    stopping: threading.Event,
) -> Shop:
    """The shop of a provider whose transactions `account` sends; `accounts` are its gateway's."""

    def quoted(job_id: bytes) -> bytes:
        row = store.find(job_id)
        return b"" if row is None or row.quote is None else row.quote

    provider, payments = settings.of_provider(), Payments(store)
    sales = Sales(facts.chain, outbox, payments, account, rules)
    jobs = JobPayments(facts, outbox, payments, provider.address, account, quoted)
    vouchers = None
    steps: dict[Kind, Steps] = {Kind.SALE: sales, Kind.JOB: jobs}
    if accounts is not None:
        vouchers = VoucherPayments(accounts, payments, jobs.place, provider.address)
        steps[Kind.VOUCHER] = vouchers
    settlements = Settlements(payments, steps, tasks, rules.wait_s, stopping)
    exact = ExactScheme(sales, settlements, outbox, account)
    escrow = CreditEscrowScheme(jobs, vouchers, settlements, outbox, account)
    return Shop(
        rules=rules, provider=provider, api=settings.api, facts=facts, desk=desk, sales=sales, jobs=jobs,
        settlements=settlements, exact=exact, escrow=escrow,
        facilitator=facilitator(jobs.place.network, exact, escrow),
    )  # fmt: skip
