"""An MCP server for agents: quotes, purchases, work and receipts as tools, within limits no tool can change.

`server` names the tools; `work`, `purchase` and `reading` do what they ask. `orders` remembers what a key
stands for, `errands` goes on while nobody waits. The process starts in `command`; `http` is the door for
clients that aren't its parent.
"""
