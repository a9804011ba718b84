"""Audits of calls: watchers run a sample again, and arbiters take stake for what wasn't due."""
