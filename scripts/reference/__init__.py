"""The reference in `docs/reference/`: the contracts' from their NatSpec, the HTTP APIs' from OpenAPI."""
