"""Audits of calls: watchers run a sample of deterministic calls again, and arbiters take stake for what wasn't due."""
