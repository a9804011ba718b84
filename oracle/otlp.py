"""What is sent to an OpenTelemetry collector, if the environment names one. Without one, nothing is imported
and nothing is done.

The variables are OpenTelemetry's own, read by its SDK; settings of the node have no part in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final, Generic, Protocol, TypeVar

from scrip.errors import ScripError

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


class ExportProblem(ScripError):
    """Traces or metrics are asked for and can't be made."""


class Closes(Protocol):
    """What can be ended."""

    def close(self) -> None:
        """Send what is left."""
        ...


T = TypeVar("T", bound=Closes)


class Export(Generic[T]):
    """One kind of signal. `now` is what records it, None where nobody asks for it."""

    def __init__(self, signal: str, make: Callable[[str], T]) -> None:
        """`signal` as OpenTelemetry's variables name it; `make` imports the SDK and takes the node's role."""
        self.endpoints: Final = (ENDPOINT, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        self.now: T | None = None
        self._make = make

    def configure(self, role: str, env: Mapping[str, str] | None = None) -> Callable[[], None]:
        """Begin if the environment asks for it. Returns what ends it. Raises ExportProblem."""
        given = os.environ if env is None else env
        asked = [name for name in self.endpoints if given.get(name)]
        if not asked:
            return lambda: None
        try:
            made = self.now = self._make(role)
        except ImportError as missing:
            raise ExportProblem(
                f"{asked[0]} is set, but {missing.name} isn't installed. Install scrip[oracle,otel], or "
                "unset it"
            ) from missing

        def end() -> None:
            self.now = None
            made.close()

        return end
