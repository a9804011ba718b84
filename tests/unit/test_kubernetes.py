"""Which pod a process and a GPU belong to, against a real gRPC server on a unix socket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from oracle.findings import Mark
from oracle.preflight import _pods
from oracle.settings import Settings
from oracle.telemetry import kubernetes
from oracle.telemetry.kubernetes import Container, PodProcess, PodsUnreadable

UID = "11111111-2222-3333-4444-555555555555"
ID = "ab" * 32
GPU, MIG = "GPU-5c819000-0000-4000-8000-000000000001", "MIG-5c819000-0000-4000-8000-000000000002"
TRAINER = Container("ml", "trainer-0", "main")


# ---- the wire format, written by hand: what the table of fields is held against


def field(number: int, content: bytes | str) -> bytes:
    """A length-delimited field (protobuf encoding, wire type 2)."""
    data = content.encode() if isinstance(content, str) else content
    assert len(data) < 128 * 128
    size = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | 2]) + size + data


def devices(resource: str, *ids: str) -> bytes:
    """ContainerDevices, with a NUMA topology (field 3) that we don't read."""
    listed = b"".join(field(2, item) for item in ids)
    return field(1, resource) + listed + field(3, field(1, b"\x08\x01"))


def pod(namespace: str, name: str, container: str, *held: bytes) -> bytes:
    """PodResources with one container, in a response."""
    inner = field(1, container) + b"".join(field(2, item) for item in held)
    return field(1, field(1, name) + field(2, namespace) + field(3, inner))


@contextmanager
def kubelet(answer: Callable[[], bytes]) -> Iterator[Path]:
    """A server of the API whose List gives these bytes. The path is short: a unix socket's must be."""

    def serve(request: bytes, context: grpc.ServicerContext) -> bytes:
        assert request == b""
        return answer()

    method, service = kubernetes.METHOD.rpartition("/")[2], kubernetes.METHOD.split("/")[1]
    handler = grpc.unary_unary_rpc_method_handler(serve)  # bytes in, bytes out
    with tempfile.TemporaryDirectory(prefix="scrip-k8s-") as folder, ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
        assert server.add_insecure_port(f"unix://{folder}/kubelet.sock")
        server.start()
        try:
            yield Path(folder) / "kubelet.sock"
        finally:
            server.stop(0).wait(10)


def holders(*pods: bytes) -> dict[str, tuple[Container, ...]]:
    with kubelet(lambda: b"".join(pods)) as socket:
        return kubernetes.gpu_holders(socket)


# ---- GPU to pod


def test_holders__no_kubelet__says_so(tmp_path: Path) -> None:
    with pytest.raises(PodsUnreadable, match="gives UNAVAILABLE"):
        kubernetes.gpu_holders(tmp_path / "absent.sock", timeout_s=1)


def test_holders__kubelet_fails__says_so() -> None:
    def fail() -> bytes:
        raise RuntimeError

    with kubelet(fail) as socket, pytest.raises(PodsUnreadable, match="gives UNKNOWN"):
        kubernetes.gpu_holders(socket)


def test_holders__answer_is_no_message__says_so() -> None:
    with kubelet(lambda: b"\xff\xff\xff") as socket, pytest.raises(PodsUnreadable):
        kubernetes.gpu_holders(socket)


def test_holders__device_by_number__refused_rather_than_guessed() -> None:
    with pytest.raises(PodsUnreadable, match="deviceIDStrategy"):
        holders(pod("ml", "trainer-0", "main", devices("nvidia.com/gpu", "0")))


def test_holders__gpus_and_mig_instances__by_uuid() -> None:
    found = holders(
        pod("ml", "trainer-0", "main", devices("nvidia.com/gpu", GPU), devices("nvidia.com/mig-1g", MIG)),
        pod("web", "front", "nginx", devices("example.com/nic", "eth7")),
        pod("web", "idle", "nginx"),
    )  # fmt: skip
    assert found == {GPU: (TRAINER,), MIG: (TRAINER,)}


def test_holders__time_sliced__every_holder_named() -> None:
    found = holders(
        pod("ml", "trainer-0", "main", devices("nvidia.com/gpu.shared", f"{GPU}::0")),
        pod("ml", "other", "main", devices("nvidia.com/gpu.shared", f"{GPU}::1")),
    )
    assert found == {GPU: (Container("ml", "other", "main"), TRAINER)}


def test_holders__nobody__empty() -> None:
    assert holders() == {}


# ---- process to pod

UNDERSCORED = UID.replace("-", "_")


@pytest.mark.parametrize(
    "path",
    [
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
        f"0::/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-{ID}.scope",
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDERSCORED}.slice/docker-{ID}.scope",
        f"0::/kubepods/besteffort/pod{UID}/{ID}",
        f"12:memory:/kubepods/pod{UID}/{ID}\n1:name=systemd:/kubepods/pod{UID}/{ID}",
        f"0::/system.slice/containerd.service/kubepods-besteffort-pod{UNDERSCORED}.slice:cri-containerd:{ID}",
        f"0::/kubepods/besteffort/pod{UID}/{ID}/init.scope",
    ],
)
def test_cgroup__every_driver_and_runtime(path: str) -> None:
    assert kubernetes.parse_cgroup(path) == PodProcess(UID, ID)


def test_cgroup__static_pod__uid_without_dashes() -> None:
    found = kubernetes.parse_cgroup(f"0::/kubepods/pod{'cd' * 16}/{ID}")
    assert found == PodProcess("cd" * 16, ID)


def test_cgroup__nested__innermost() -> None:
    outer = f"/kubepods/pod{'cd' * 16}/{'ef' * 32}"
    assert kubernetes.parse_cgroup(f"0::{outer}/kubepods/pod{UID}/{ID}") == PodProcess(UID, ID)


@pytest.mark.parametrize(
    "path",
    ["0::/", "0::/user.slice/user-0", f"0::/docker/{ID}", f"0::/kubepods/podx/{ID}", f"0::/pod{UID}/x"],
)
def test_cgroup__no_pod__none(path: str) -> None:
    assert kubernetes.parse_cgroup(path) is None


def test_pod_of__this_very_process__as_its_cgroup_says() -> None:
    text = Path("/proc/self/cgroup").read_text()
    assert kubernetes.pod_of(os.getpid()) == kubernetes.parse_cgroup(text)


def test_owns__only_its_pods_processes(tmp_path: Path) -> None:
    for pid, uid in ((7, UID), (8, "cd" * 16)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(f"0::/kubepods/pod{uid}/{ID}\n")
    owned = kubernetes.owns(UID, tmp_path)
    assert [owned(pid) for pid in (7, 8, 9)] == [True, False, False]


def test_pod_uids__from_log_folders(tmp_path: Path) -> None:
    for name in (f"ml_trainer-0_{UID}", f"kube-system_etcd-node_{'cd' * 16}", "stray"):
        (tmp_path / name).mkdir()
    expected = {UID: ("ml", "trainer-0"), "cd" * 16: ("kube-system", "etcd-node")}
    assert kubernetes.pod_uids(tmp_path) == expected
    assert kubernetes.pod_uids(tmp_path / "absent") == {}


# ---- `scrip oracle check`


def checked(socket: Path) -> tuple[Mark, str]:
    """What it says of a node that offers GPU."""
    provider = {"address": "0x" + "11" * 20, "gpus": [GPU], "kubelet_socket": socket}
    chain = {"rpc_url": "http://127.0.0.1:1", "chain_id": 31337}
    settings = {"role": "provider", "state_dir": socket.parent, "chain": chain, "provider": provider}
    return _pods(Settings.model_validate(settings))


def test_check__gpu_held_by_another_pod__fails_and_names_it() -> None:
    with kubelet(lambda: pod("ml", "trainer-0", "main", devices("nvidia.com/gpu", GPU))) as socket:
        mark, detail = checked(socket)
    assert (mark, f"{GPU} by ml/trainer-0/main" in detail) == (Mark.FAIL, True)


def test_check__gpu_held_by_our_own_pod__fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "pod_of", lambda pid: PodProcess(UID, ID))
    monkeypatch.setattr(kubernetes, "pod_uids", lambda: {UID: ("ml", "trainer-0")})
    with kubelet(lambda: pod("ml", "trainer-0", "main", devices("nvidia.com/gpu", GPU))) as socket:
        assert checked(socket)[0] is Mark.OK


def test_check__other_gpus_held__fine() -> None:
    with kubelet(lambda: pod("ml", "trainer-0", "main", devices("nvidia.com/gpu", MIG))) as socket:
        assert checked(socket) == (Mark.OK, "no other pod holds any of 1 GPU(s)")
