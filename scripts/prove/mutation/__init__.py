"""Mutation of the contracts: small wrong changes, each of which some test must notice."""
