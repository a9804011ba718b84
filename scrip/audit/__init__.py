"""The audit export: a file that links every unit settled on chain to what was signed for it.

`shapes` says what its lines hold, `book` checks a file by itself, `collect` makes its lines from the chain,
`export` appends them, `onchain` and `evidence` hold a file against the chain and against evidence bundles.
docs/audit.md has the format.
"""
