"""Which contracts are deployed, and which tests are the first to notice a change of a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = "contracts"
TESTS = "tests/solidity"
INVARIANTS = f"{TESTS}/invariants/*"
# Sources that tests don't name after themselves -> beginnings of the names of their tests.
NAMED: Mapping[str, str] = {
    "CreditLedger": "ComputeCredits",
    "BudgetTree": "SpendingBudgets",
    "JobBook": "JobMarket",
    "JobDisputes": "JobMarket",
    "ProviderStake": "ProviderRegistry",
    "AllowListEligibility": "EligibilityAllowList",
    "AttestationEligibility": "EligibilityAttestation",
    "BudgetCount": "SpendingBudgets",
    "ClassFlags": "ComputeCredits",
    "ClassPolicy": "ComputeCredits",
    "ClassPrice": "CreditReserve",
    "ClassRules": "ComputeCredits",
    "JobRules": "JobMarket",
    "JobSlot": "JobMarket",
    "JobWords": "JobMarket",
    "JsonText": "ClassMetadata",
    "ReceiptHash": "ReceiptVerifier",
    "SessionAudits": "MeteredSessionsAudit",
    "SessionRules": "MeteredSessions",
    "UsageList": "JobMarket",
}


def sources(root: Path) -> list[str]:
    """Every source that has code, by path from the root."""
    found = (file.relative_to(root).as_posix() for file in sorted((root / FOLDER).rglob("*.sol")))
    return [name for name in found if not name.startswith(f"{FOLDER}/interfaces/")]


def deployed(root: Path) -> dict[str, str]:
    """Contracts that tests deploy, name -> file: those that are neither abstract nor a library."""
    return {
        Path(name).stem: name
        for name in sources(root)
        if f"\ncontract {Path(name).stem} " in (root / name).read_text()
    }


def own_tests(file: str) -> str:
    """Pattern of the paths of the tests that are about a source."""
    stem = Path(file).stem
    return f"{TESTS}/{NAMED.get(stem, stem)}*.t.sol"
