"""The operator's page: what a provider's node does now, in a browser and kept up to date (docs/operator.md).

`book`, `figures` and `faults` read what there is, `view` makes it JSON (pure), `feed` tells viewers what has
changed, `access` lets in who holds the token, `api` serves it all.
"""
