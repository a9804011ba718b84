"""Names of the files in a job's work directory. No imports: everything that touches a job reads this."""

from __future__ import annotations

from typing import Final

PARAMS: Final = "params.json"
"""What the buyer asked for; written before the start."""
SETTINGS: Final = "settings.json"
"""What the provider's catalogue fixes; written before the start."""
SCRATCH: Final = "scratch"
"""Directory for temporary files; counts towards the output limit."""
INPUT: Final = "input.bin"
"""Output of an earlier job that this one works on; written before the start, if there is one."""
CONTENT: Final = "content.bin"
"""What a `keep` job keeps; its size is metered while it runs."""
OUTPUT: Final = "output.bin"
"""What the buyer gets; its keccak256 is the receipt's outputHash."""
USAGE: Final = "usage.json"
"""What the program counted itself, e.g. tokens."""
