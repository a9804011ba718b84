"""Inference paid by the call: session accounts, vouchers, API keys, receipts and claims (docs/gateway.md)."""
