"""Payments over HTTP by x402 v2: selling credits, taking paid jobs, and a facilitator (docs/x402.md).

Nothing here is imported unless the section `[x402]` is set: the x402 SDK is an extra.
"""
