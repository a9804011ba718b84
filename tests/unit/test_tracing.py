"""Traces cost nothing unless the environment asks for them."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import pytest

from oracle import tracing
from oracle.otlp import ExportProblem
from oracle.tracing import configure, span

SDK = "opentelemetry.sdk"


def test_configure__no_endpoint__imports_and_does_nothing() -> None:
    code = (
        "import sys; from oracle.tracing import configure, span\n"
        "end = configure('provider', {'OTEL_EXPORTER_OTLP_ENDPOINT': ''})\n"
        "with span('step', b'x' * 32): pass\n"
        f"end(); sys.exit(any(name.startswith({SDK!r}) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_cli__no_endpoint__does_not_import_the_sdk() -> None:
    code = f"import sys, oracle.cli; sys.exit(any(name.startswith({SDK!r}) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("name", tracing.ENDPOINTS)
def test_configure__extra_not_installed__says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == "oracle.otel":
            raise ModuleNotFoundError("no", name="opentelemetry.sdk")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExportProblem, match=rf"^{name} .* scrip\[oracle,otel\]"):
        configure("provider", {name: "http://127.0.0.1:9"})


def test_span__not_configured__lets_everything_through() -> None:
    with pytest.raises(ZeroDivisionError), span("step", b"x" * 32):
        raise ZeroDivisionError
