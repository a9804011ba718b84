"""Job programs that misbehave, each a module of its own, and a catalogue that serves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scrip.spec import JobSpec
from tests.e2e.site import SEED

SURVIVOR: Final = "scrip-test-survivor"
"""In the command line of a process that tries to outlive its job."""

_HEAD = """
import json, os, signal, socket, subprocess, sys, time
from pathlib import Path

workdir = Path(sys.argv[1])
output = workdir / "output.bin"
"""

PROGRAMS: Final = {
    "forks": """
while True:
    if os.fork() == 0:
        time.sleep(600)
""",
    "hangs": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
""",
    "hoards": """
held = []
while True:
    held.append(b"x" * (8 << 20))
""",
    "floods": """
for number in range(10**6):
    (workdir / f"file{number}").write_bytes(b"x" * 65536)
""",
    "escapes": f"""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)", "{SURVIVOR}"])
    os._exit(0)
os.wait()
output.write_bytes(b"left one behind")
""",
    "shouts": """
print('{"event": "forged", "level": "info"}')
print("x" * 100_000, "https://user:hunter2@node.example/v2/KEY \\x1b[31m \\u2028 'quotes' \\"more\\"")
sys.exit(3)
""",
    "spies": """
def look(path):
    try:
        return Path(path).read_bytes().decode("latin-1")
    except OSError as problem:
        return type(problem).__name__


def reach(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=3).close()
        return "connected"
    except OSError as problem:
        return type(problem).__name__


WANTED = json.loads(Path(__file__).with_name("wanted.json").read_text())
found = {"environ": dict(os.environ), "argv": sys.argv, "mounts": look("/proc/self/mountinfo")}
found["files"] = {path: look(path) for path in WANTED["files"]}
found["ports"] = {str(port): reach(port) for port in WANTED["ports"]}
for entry in Path("/proc").iterdir():
    if entry.name.isdigit():
        found[entry.name] = [look(entry / "environ"), look(entry / "cmdline")]
output.write_text(json.dumps(found))
""",
}

_TEMPLATE = """
[[template]]
name = "test.{name}"
title = "A job that {name}"
module = "misbehaving.{name}"
schema = "hash"
metered = ["CPU_SECOND"]
deterministic = false
cores = 1
gpus = 0
limits = {{ seconds = 3, memory_bytes = 134_217_728, output_bytes = 1_048_576, processes = 16 }}
cost = {{ base_ms = 100, ns_per_op = 1 }}
"""


def install(folder: Path, wanted: str, catalogue: str) -> tuple[Path, Path]:
    """Write the package and a catalogue that adds its templates to `catalogue`; their paths. `wanted` is
    JSON of what the spy looks for.
    """
    package = folder / "misbehaving"
    package.mkdir(mode=0o755)
    (package / "__init__.py").touch()
    (package / "wanted.json").write_text(wanted)
    for name, text in PROGRAMS.items():
        (package / f"{name}.py").write_text(_HEAD + text)
    path = folder / "catalogue.toml"
    path.write_text(catalogue + "".join(_TEMPLATE.format(name=name) for name in PROGRAMS))
    return package, path


def job(name: str) -> JobSpec:
    """The job that misbehaves like this."""
    params: Mapping[str, str | int] = {"seed": SEED, "steps": 1_000}
    return JobSpec(f"test.{name}", dict(params))
