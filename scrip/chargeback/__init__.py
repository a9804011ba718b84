"""Chargeback: who used what, on whose budget, and what it cost, from a node alone (docs/chargeback.md)."""
