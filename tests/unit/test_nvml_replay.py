"""The replay library: it builds against NVIDIA's header, plays traces, and refuses bad ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oracle.telemetry.nvml import REPLAY_VERSION, GpuLost, MetricAbsent, Nvml, NvmlUnavailable, Replay
from oracle.telemetry.replay import build as build_module
from oracle.telemetry.replay.build import STEADY_TRACE, ReplayUnavailable, build, nvml_header
from oracle.telemetry.replay.generate import H100, TRACES
from tests.unit.replay_gpu import GPU, HEAD, simulated

needs_header = pytest.mark.skipif(nvml_header() is None, reason="nvidia-nvml-dev is not installed")


def altered_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(Path(build_module.__file__).parent, sources)
    text = (sources / name).read_text()
    assert old in text
    (sources / name).write_text(text.replace(old, new))
    monkeypatch.setattr(build_module, "_HERE", sources)


# BUILD


def test_build__no_compiler__says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ReplayUnavailable, match="install gcc"):
        build(tmp_path, compiler="no-such-compiler")


def test_build__compiler_fails__carries_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered_sources(
        tmp_path, monkeypatch, "nvml_replay.c", "nvmlInit_v2(void) {", "nvmlInit_v2(void) { int unused;"
    )
    with pytest.raises(ReplayUnavailable, match="unused"):
        build(tmp_path / "out", use_nvml_header=False)
    assert not list((tmp_path / "out").rglob("*.so*"))


@needs_header
@pytest.mark.parametrize(
    ("source", "right", "wrong", "symbol"),
    [
        (
            "readings.c",
            "unsigned long long *energy)",
            "unsigned long *energy)",
            "nvmlDeviceGetTotalEnergyConsumption",
        ),
        ("readings.c", "int valuesCount", "unsigned int valuesCount", "nvmlDeviceGetFieldValues"),
        ("devices.c", "const char *uuid", "char *uuid", "nvmlDeviceGetHandleByUUID"),
        ("processes.c", "nvmlEnableState_t *mode", "unsigned long *mode", "nvmlDeviceGetAccountingMode"),
        ("gpm.c", "unsigned int gpuInstanceId, ", "", "nvmlGpmMigSampleGet"),
        ("processes.c", "stats->startTime", "stats->started", "nvmlDeviceGetAccountingStats"),
    ],
)
def test_build__differs_from_nvidias_header__fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, right: str, wrong: str, symbol: str
) -> None:
    altered_sources(tmp_path, monkeypatch, source, right, wrong)
    with pytest.raises(ReplayUnavailable, match=symbol):
        build(tmp_path / "out")


@needs_header
def test_build__with_and_without_nvidias_header__same_symbols(tmp_path: Path) -> None:
    listings = {
        subprocess.run(
            ["nm", "-D", "--defined-only", "--format=posix", build(tmp_path, use_nvml_header=header)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for header in (True, False)
    }
    names = {tuple(line.split()[0] for line in listing.splitlines()) for listing in listings}
    assert len(names) == 1
    assert all(re.match(r"nvml[A-Z]|scrip_nvml_replay_", name) for name in names.pop())


LAYOUTS = """
#include <stddef.h>
#include <stdio.h>
#include "nvml_abi.h"
#define SIZE(type) printf(#type " %zu\\n", sizeof(type))
#define FIELD(type, field) \\
    printf(#type "." #field " %zu %zu\\n", offsetof(type, field), sizeof(((type *)0)->field))
#define VALUE(name) printf(#name " %d\\n", (int)name)
int main(void) {
STATEMENTS
return 0;
}
"""


@needs_header
def test_build__our_own_declarations__are_laid_out_as_nvidias(tmp_path: Path) -> None:
    """What a machine without NVIDIA's header compiles against: every struct, field and constant in it."""
    folder = Path(build_module.__file__).parent
    ours = (folder / "nvml_abi.h").read_text().split("#else", 1)[1]
    statements = [f"VALUE({name});" for name in re.findall(r"\bNVML_\w+", ours)]
    for body, name in re.findall(r"typedef struct \{(.*?)^\} (\w+);", ours, re.DOTALL | re.MULTILINE):
        outer = re.sub(r"struct \{.*?\} (\w+);", r"struct \1;", body, flags=re.DOTALL)
        fields = re.findall(r"(\w+)(?:\[\w+\])?;", outer)
        assert fields, name
        statements += [f"SIZE({name});", *(f"FIELD({name}, {field});" for field in fields)]
    source = tmp_path / "layouts.c"
    source.write_text(LAYOUTS.replace("STATEMENTS", "\n".join(statements)))
    header = nvml_header()
    assert header is not None
    printed = []
    for flags in ([], ["-DUSE_NVML_H", f"-I{header.parent}"]):
        program = tmp_path / f"layouts{len(printed)}"
        subprocess.run(["gcc", *flags, f"-I{folder}", "-o", program, source], check=True)
        printed.append(subprocess.run([program], capture_output=True, text=True, check=True).stdout)
    assert printed[0] == printed[1]
    assert "nvmlGpmMetricsGet_t.metrics" in printed[0]
    assert len(printed[0].splitlines()) > 80


def test_build__same_sources__compiles_once(tmp_path: Path) -> None:
    first = build(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build(tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert [path.name for path in first.parent.iterdir()] == ["libnvidia-ml.so.1"]


def test_build__no_checkout__uses_a_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site" / "oracle" / "telemetry" / "replay"
    shutil.copytree(Path(build_module.__file__).parent, installed)
    monkeypatch.setattr(build_module, "_HERE", installed)
    path = build()
    assert path.exists()
    assert tmp_path not in path.parents


# TRACES


@pytest.mark.parametrize("name", sorted(TRACES))
def test_traces__committed_file__is_what_the_generator_writes(name: str) -> None:
    assert STEADY_TRACE.with_name(name).read_text() == TRACES[name]()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some other file\n",
        "scrip-nvml-trace 2\n",
        HEAD + "read 0 0 1 2 3\n",
        HEAD + "read 0 0 1 2 3 4 5 6\n",
        HEAD + "read 0 0 -1 2 3 4\n",
        HEAD + "read 0 0 1e3 2 3 4\n",
        HEAD + "read 0 1 1 2 3 4\n",
        HEAD + "read 5 0 1 2 3 4\nread 5 0 1 2 3 4\n",
        HEAD + "read 0 0 99999999999999999999999 2 3 4\n",
        HEAD + "proc 5 0 1 2 3 4\nexit 4 0 1\n",
        HEAD + "mig 0 0 2\n",
        HEAD + "fail 0 7 nvmlDeviceGetUUID 3\n",
        HEAD + "fail 0 -1 nvmlDeviceGetUUID 3\n",
        HEAD + "reads 0 0 1 2 3 4\n",
        HEAD + "gpu 2 GPU-x 1 - Gap\n",
        HEAD + "gpu 1 GPU-x 1 -\n",
        HEAD + "proc 5 0 1 2 3 4 5 6\n",
        HEAD + "gpm 5 0 1 2 3\n",
        HEAD + "gpm 5 0 x 1 2 3\n",
        HEAD + "gpm 5 1 - 1 2 3\n",
        HEAD + "gpm 5 0 - 1 2 3\ngpm 4 0 - 1 2 3\n",
        HEAD + "acct 5 0 2\n",
        HEAD + "acct 5 0 1\nacct 5 0 0\n",
        HEAD + "slice 0 1 0 1024\n",
        HEAD + "slice 0 1 0 1024 MIG-x more\n",
        HEAD + "slice 1 1 0 1024 MIG-x\n",
        HEAD + "lost 5 1 15\n",
        HEAD + "lost 5 0\n",
        HEAD + "loop 0\n",
        HEAD + "loop 100\nread 0 0 1 2 3 4\n",
        HEAD + "loop 100\nread 0 0 5 2 3 4\nread 100 0 1 2 3 4\n",
    ],
)
def test_trace__invalid__is_refused(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NvmlUnavailable, match="code 999"), simulated(tmp_path, text):
        pass
    assert "test.trace" in capfd.readouterr().err


def test_trace__missing__is_a_driver_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(NvmlUnavailable, match="driver is not loaded"), simulated(tmp_path, tmp_path / "none"):
        pass


def test_trace__before_the_first_reading__metric_is_not_supported(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 100 0 7 2 3 4\n") as (nvml, clock):
        with pytest.raises(MetricAbsent, match="support"):
            nvml.energy_mj(GPU)
        clock.set(100)
        assert nvml.energy_mj(GPU) == 7


def test_trace__played_to_the_end__holds_its_last_reading(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 0 0 5 2 3 4\nread 100 0 9 2 3 4\n") as (nvml, clock):
        seen = []
        for ms in (0, 99, 100, 10_000_000):
            clock.set(ms)
            seen.append(nvml.energy_mj(GPU))
    assert seen == [5, 5, 9, 9]


def test_trace__loops__energy_goes_on_where_the_last_loop_ended(tmp_path: Path) -> None:
    text = HEAD + "loop 200\nread 0 0 5 2 3 4\nread 100 0 9 2 3 4\nread 200 0 20 2 3 4\n"
    with simulated(tmp_path, text) as (nvml, clock):
        seen = []
        for ms in (0, 100, 199, 200, 300, 400, 1_000_000):
            clock.set(ms)
            seen.append(nvml.energy_mj(GPU))
    assert seen == [5, 9, 9, 20, 24, 35, 5 + 15 * 5000]


def test_trace__process_rows__come_and_go(tmp_path: Path) -> None:
    text = HEAD + "proc 100 0 41 1 9 9\nproc 100 0 42 1 9 9\nproc 200 0 41 1 9 9\nexit 300 0 41\n"
    with simulated(tmp_path, text) as (nvml, clock):
        seen = []
        for ms in (0, 100, 250, 300):
            clock.set(ms)
            seen.append(nvml.compute_pids(GPU))
    assert seen == [set(), {41, 42}, {41, 42}, {42}]


def test_trace__loops__process_samples_are_stamped_in_each_loop(tmp_path: Path) -> None:
    text = HEAD + "loop 100\nread 0 0 0 2 3 4\nread 100 0 1 2 3 4\nproc 50 0 41 1 9 9\n"
    with simulated(tmp_path, text) as (nvml, clock):
        clock.set(960)
        assert [util.at_us for util in nvml.process_utils(GPU, 0)] == [850_000, 950_000]
        assert [util.at_us for util in nvml.process_utils(GPU, 850_000)] == [950_000]


def test_clock__unreadable__is_an_error_not_zero(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 0 0 5 2 3 4\n") as (nvml, clock):
        clock.path.write_text("soon")
        with pytest.raises(GpuLost, match="999"):
            nvml.energy_mj(GPU)


def test_clock__none__runs_in_real_time() -> None:
    deadline = time.monotonic() + 10
    with Nvml.open(Replay(STEADY_TRACE)) as nvml:
        first = nvml.energy_mj(H100)
        while nvml.energy_mj(H100) == first:
            assert time.monotonic() < deadline, "the counter never moved"
            time.sleep(0.01)


def test_library__found_through_the_environment__serves_a_program_we_do_not_control(tmp_path: Path) -> None:
    """As Zeus, nvitop or nvidia-smi-like tools would load it."""
    code = (
        "import pynvml as n; n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0);"
        "f = n.nvmlDeviceGetFieldValues(h, [n.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 186, 1]);"
        "m = n.nvmlDeviceGetMemoryInfo(h);"
        "print(n.nvmlSystemGetDriverVersion(), n.nvmlDeviceGetCount(), n.nvmlDeviceGetUUID(h),"
        "      f[0].value.ullVal, f[1].value.uiVal, f[2].nvmlReturn, m.used, n.nvmlDeviceGetIndex(h))"
    )
    trace, clock = tmp_path / "t.trace", tmp_path / "now"
    trace.write_text(HEAD + "read 0 0 70 250 3 4\nproc 0 0 41 4096 9 9\n")
    clock.write_text("10")
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(build().parent),
        "SCRIP_NVML_TRACE": str(trace),
        "SCRIP_NVML_CLOCK": str(clock),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [REPLAY_VERSION, "1", GPU, "70", "250", "3", "4096", "0"]
