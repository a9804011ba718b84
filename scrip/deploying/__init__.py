"""Deploying the contracts: parameters, plan, and on a development chain the deed itself."""
