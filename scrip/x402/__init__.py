"""x402 v2 with compute credits: the scheme `credit-escrow` for the x402 SDK (extra `x402`; docs/x402.md)."""
