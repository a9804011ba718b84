"""The `scrip` command line: one file per noun.

A command is bound to start fast, so modules here import the SDK (and with it web3) inside functions only.
Other packages add command groups through the entry-point group `scrip.commands`; nothing here imports them.
"""
