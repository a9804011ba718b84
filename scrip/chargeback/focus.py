"""Entries as rows of FOCUS 1.2, the FinOps Foundation's format of bills (focus.finops.org).

Credits are its virtual currency. Buying them is a `Purchase`: billed in money, with an effective cost of 0.
Using them is `Usage`: billed nothing, priced in credits, and its effective cost is what the provider earned
for it. What a wound-down class gives back is a purchase of less than nothing. So over a class's life, billed
and effective costs sum to the same money, but for what was reclaimed or never used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from scrip.amounts import format_units
from scrip.chargeback.entry import USAGE, Entry
from scrip.types import ClassTerms, Resource

Value = str | None
Row = dict[str, Value]

COLUMNS: Final = (
    "AvailabilityZone", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart",
    "CapacityReservationId", "CapacityReservationStatus", "ChargeCategory", "ChargeClass",
    "ChargeDescription", "ChargeFrequency", "CommitmentDiscountCategory", "CommitmentDiscountId",
    "CommitmentDiscountName", "CommitmentDiscountQuantity", "CommitmentDiscountStatus",
    "CommitmentDiscountType", "CommitmentDiscountUnit", "BilledCost", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity", "PricingUnit",
    "InvoiceId", "InvoiceIssuerName", "ProviderName", "PublisherName", "RegionId", "RegionName",
    "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory",
    "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName",
    "SubAccountType", "Tags", "x_Amount", "x_Assurance", "x_Block", "x_CachedInputTokens", "x_ClassId",
    "x_EnergyJoules", "x_EvidenceRoot", "x_GpuSeconds", "x_InputTokens", "x_Kind", "x_LogIndex",
    "x_OutputTokens", "x_PaymentToken", "x_ReceiptHash", "x_Transaction", "x_Units", "ChargeType",
    "InvoiceIssuer", "Provider", "Publisher", "ResourceID",
)  # fmt: skip
"""All columns, in the order of a row."""
NUMBERS: Final = (
    "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost",
    "ListUnitPrice", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice", "PricingQuantity",
)  # fmt: skip
"""Columns that hold decimal numbers."""
TIMES: Final = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
"""Columns that hold times, UTC."""

_UNITS: Final = {
    Resource.NONE: "Credits",
    Resource.GPU_SECOND: "GPU-Seconds",
    Resource.CPU_SECOND: "CPU-Seconds",
    Resource.OUTPUT_TOKEN: "Tokens",
    Resource.INPUT_TOKEN: "Tokens",
    Resource.GB_HOUR: "GB-Hours",
    Resource.GB_TRANSFER: "GB",
}
_COMPUTE, _AI = ("Compute", "Other (Compute)"), ("AI and Machine Learning", "Generative AI")
_SERVICES: Final = {
    Resource.NONE: ("Other", "Other (Other)"),
    Resource.GPU_SECOND: _COMPUTE,
    Resource.CPU_SECOND: _COMPUTE,
    Resource.OUTPUT_TOKEN: _AI,
    Resource.INPUT_TOKEN: _AI,
    Resource.GB_HOUR: ("Storage", "Other (Storage)"),
    Resource.GB_TRANSFER: ("Networking", "Other (Networking)"),
}


@dataclass(frozen=True, slots=True)
class Money:
    """The payment token of a class and the ISO 4217 currency it stands for, one for one."""

    address: str
    decimals: int
    currency: str


@dataclass(frozen=True, slots=True)
class Biller:
    """Makes rows of one deployment's entries."""

    chain_id: int

    def row(self, entry: Entry, terms: ClassTerms, money: Money) -> Row:
        """An entry as a row, all columns in the order of the file. Custom columns begin with `x_`."""
        category, subcategory = _SERVICES[terms.resource]
        used = entry.kind in USAGE
        charge = "Usage" if used else "Purchase"
        account, provider = entry.account, f"Scrip on chain {self.chain_id}"
        publisher = entry.counterparty if used else terms.issuer
        job = "0x" + entry.ident.hex() if entry.ident else None
        return {
            "AvailabilityZone": None,
            "BillingAccountId": account,
            "BillingAccountName": account,
            "BillingAccountType": "Account",
            "BillingCurrency": money.currency,
            **_periods(entry),
            "CapacityReservationId": None,
            "CapacityReservationStatus": None,
            "ChargeCategory": charge,
            "ChargeClass": None,
            "ChargeDescription": _description(entry, terms),
            "ChargeFrequency": "Usage-Based" if used else "One-Time",
            **dict.fromkeys(_COMMITMENT),
            **_costs(entry, terms, money),
            "InvoiceId": None,
            "InvoiceIssuerName": terms.issuer,
            "ProviderName": provider,
            "PublisherName": publisher,
            "RegionId": terms.region_label if any(terms.region) else None,
            "RegionName": terms.region_label if any(terms.region) else None,
            "ResourceId": job,
            "ResourceName": job,
            "ResourceType": entry.kind.capitalize() if used else None,
            "ServiceCategory": category,
            "ServiceName": terms.name or f"Class {entry.class_id}",
            "ServiceSubcategory": subcategory,
            "SkuId": "0x" + terms.sku.hex(),
            "SkuMeter": terms.resource.label,
            "SkuPriceDetails": None,
            "SkuPriceId": f"class-{entry.class_id}",
            "SubAccountId": f"budget-{entry.budget_id}" if entry.budget_id else None,
            "SubAccountName": f"Budget {entry.budget_id}" if entry.budget_id else None,
            "SubAccountType": "Budget" if entry.budget_id else None,
            "Tags": json.dumps({}),
            **_custom(entry, terms, money),
            # Names of FOCUS 0.5 that focus-validator 1.0.0, the only one on PyPI, still asks for.
            "ChargeType": charge,
            "InvoiceIssuer": terms.issuer,
            "Provider": provider,
            "Publisher": publisher,
            "ResourceID": job,
        }


_COMMITMENT: Final = tuple(
    f"CommitmentDiscount{name}" for name in ("Category", "Id", "Name", "Quantity", "Status", "Type", "Unit")
)


def _costs(entry: Entry, terms: ClassTerms, money: Money) -> Mapping[str, Value]:
    """Quantities and costs. A credit is one unit of the class's resource."""
    used, sold = entry.kind in USAGE, entry.kind == "purchase"
    back = entry.kind == "reclaim"
    quantity = _decimal(-entry.units if back else entry.units, terms.decimals)
    amount = _decimal(-entry.amount if back else entry.amount, money.decimals)
    fixed = bool(terms.price_per_million) and not int(terms.price_feed, 16) and (used or sold)
    unit_price = _decimal(terms.price_per_million, 6 + money.decimals) if fixed else None
    listed = (
        _decimal(entry.units * terms.price_per_million, terms.decimals + 6 + money.decimals)
        if fixed
        else amount
    )
    unit, credit = _UNITS[terms.resource], f"Scrip class {entry.class_id} credits"
    return {
        "BilledCost": "0.0" if used else amount,
        "ConsumedQuantity": quantity if used else None,
        "ConsumedUnit": unit if used else None,
        "ContractedCost": listed,
        "ContractedUnitPrice": unit_price,
        "EffectiveCost": amount if used else "0.0",
        "ListCost": listed,
        "ListUnitPrice": unit_price,
        "PricingCategory": "Standard" if fixed else "Dynamic" if int(terms.price_feed, 16) else "Other",
        "PricingCurrency": credit if used else money.currency,
        "PricingCurrencyContractedUnitPrice": "1.0" if used else unit_price,
        "PricingCurrencyEffectiveCost": quantity if used else "0.0",
        "PricingCurrencyListUnitPrice": "1.0" if used else unit_price,
        "PricingQuantity": quantity,
        "PricingUnit": unit if used else "Credits",
    }


def _custom(entry: Entry, terms: ClassTerms, money: Money) -> Mapping[str, Value]:
    """Integers as decimal text: some exceed what a double holds."""
    receipt, tokens = entry.receipt, entry.tokens
    seconds = terms.resource is Resource.GPU_SECOND and entry.kind in USAGE
    return {
        "x_Amount": str(entry.amount),
        "x_Assurance": None if receipt is None else str(receipt.assurance),
        "x_Block": str(entry.block),
        "x_CachedInputTokens": None if tokens is None or entry.kind == "job" else str(tokens.cached),
        "x_ClassId": str(entry.class_id),
        "x_EnergyJoules": _decimal(receipt.gpu_millijoules, 3)
        if receipt and receipt.gpu_millijoules
        else None,
        "x_EvidenceRoot": None if receipt is None else "0x" + receipt.evidence_root.hex(),
        "x_GpuSeconds": _decimal(entry.units, terms.decimals) if seconds else None,
        "x_InputTokens": None if tokens is None else str(tokens.input),
        "x_Kind": entry.kind,
        "x_LogIndex": str(entry.log_index),
        "x_OutputTokens": None if tokens is None else str(tokens.output),
        "x_PaymentToken": money.address,
        "x_ReceiptHash": "0x" + entry.receipt_hash.hex() if entry.receipt_hash else None,
        "x_Transaction": "0x" + entry.tx_hash.hex(),
        "x_Units": str(entry.units),
    }


def _periods(entry: Entry) -> Mapping[str, Value]:
    """Charged for the time of the work, or of the transaction; billed in the month of the transaction."""
    start, end = entry.time, entry.time + 1
    if entry.receipt is not None:
        start = entry.receipt.started_at
        end = max(start + 1, entry.receipt.ended_at)
    month = datetime.fromtimestamp(entry.time, UTC).replace(day=1, hour=0, minute=0, second=0)
    after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    return {
        "BillingPeriodEnd": _time(after),
        "BillingPeriodStart": _time(month),
        "ChargePeriodEnd": _time(datetime.fromtimestamp(end, UTC)),
        "ChargePeriodStart": _time(datetime.fromtimestamp(start, UTC)),
    }


def _description(entry: Entry, terms: ClassTerms) -> str:
    credits = format_units(entry.units, terms.decimals)
    what = f"{credits} {terms.resource.label} credits of class {entry.class_id}"
    does = {"purchase": "Bought", "grant": "Granted", "reclaim": "Reclaimed for their backing:"}
    return f"{does.get(entry.kind, 'Used by a ' + entry.kind + ':')} {what}"


def _decimal(value: int, decimals: int) -> str:
    """Exact, and always with a point, by which readers of CSV know a column of decimals."""
    text = format_units(value, decimals)
    return text if "." in text else text + ".0"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
