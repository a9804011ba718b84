"""Scrip: the SDK that the oracle, the agents and third parties share.

Types that mirror the contracts, EIP-712 encoding, reads at a pinned block, log scans and the only
transaction sender of the project. Nothing here imports `oracle` or `agents`.
"""
