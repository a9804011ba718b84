"""Pipelines: a plan's stages, each a job of its own class, bought and checked like any other.

`plan` (the file, the graph) -> `quote` (what it may cost) -> `funds` (money set aside) -> `run` (stages side
by side, `state` first) -> `tree` (one receipt over all jobs) -> `verify` (that receipt against the chain).
"""
