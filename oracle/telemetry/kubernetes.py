"""Which pod holds which GPU, and whose process is this: what kubelet and kernel say on a Kubernetes node.

Two facts that need no API server. A process belongs to the pod that its cgroup names. A GPU belongs to the
containers that the kubelet's PodResources API lists for it (v1, served on a unix socket of the node since
Kubernetes 1.20). The API names pods by namespace and name, the cgroup by uid; the kubelet's log folders,
`<namespace>_<name>_<uid>`, join the two.

Devices of DRA claims aren't read: they are listed apart from the device plugin's. This reads and attributes;
it starts no pods. Needs the extra `kubernetes`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from oracle.telemetry.base import TelemetryError

SOCKET: Final = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
LOGS: Final = Path("/var/log/pods")
METHOD: Final = "/v1.PodResourcesLister/List"
VENDOR: Final = "nvidia.com/"
_MOST_BYTES: Final = 16 << 20

_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_CGROUP: Final = re.compile(
    rf"kubepods\S*?[-/]pod(?P<uid>{_UID})(?:\.slice)?[/:](?:[a-z-]+[-:])?(?P<container>[0-9a-f]{{64}})\b"
)
"""Both cgroup drivers: `/kubepods/burstable/pod<uid>/<id>`, `.../kubepods-pod<uid>.slice/crio-<id>.scope`."""
_REPLICA: Final = re.compile(r"::\d+\Z")
_UUID: Final = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,100}\Z")
_FOLDER: Final = re.compile(rf"(?P<namespace>[^_]+)_(?P<name>[^_]+)_(?P<uid>{_UID})\Z")

_STRING, _MESSAGE = (
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
)
_FIELDS: Final[Mapping[str, tuple[tuple[str, int, bool, str], ...]]] = {
    "ListPodResourcesRequest": (),
    "ListPodResourcesResponse": (("pod_resources", 1, True, "PodResources"),),
    "PodResources": (
        ("name", 1, False, ""), ("namespace", 2, False, ""), ("containers", 3, True, "ContainerResources"),
    ),
    "ContainerResources": (("name", 1, False, ""), ("devices", 2, True, "ContainerDevices")),
    "ContainerDevices": (("resource_name", 1, False, ""), ("device_ids", 2, True, "")),
}  # fmt: skip
"""(name, number, repeated, message type or "" for a string), from kubelet/pkg/apis/podresources/v1/api.proto.
Only what is read; a field that isn't here is skipped by the wire format's own rules."""


class PodsUnreadable(TelemetryError):
    """The kubelet doesn't answer, or not with what can be attributed."""


@dataclass(frozen=True, slots=True, order=True)
class Container:
    """A container of a pod, as the kubelet names it."""

    namespace: str
    pod: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}/{self.name}"


@dataclass(frozen=True, slots=True)
class PodProcess:
    """Where a process runs: uid of the pod (with dashes) and id of the container, from its cgroup."""

    uid: str
    container_id: str


def pod_of(pid: int, proc: Path = Path("/proc")) -> PodProcess | None:
    """The pod of a process of this node, None for one outside of pods or gone."""
    try:
        text = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parse_cgroup(text)


def parse_cgroup(text: str) -> PodProcess | None:
    """The innermost pod that /proc/<pid>/cgroup names: with Kubernetes in Kubernetes there are several."""
    found = [match for line in text.splitlines() for match in _CGROUP.finditer(line)]
    if not found:
        return None
    return PodProcess(_dashed(found[-1]["uid"]), found[-1]["container"])


def owns(pod_uid: str, proc: Path = Path("/proc")) -> Callable[[int], bool]:
    """For `NvmlMeter`: whether a pid that NVML shows belongs to the pod. NVML gives host pids."""

    def owned(pid: int) -> bool:
        found = pod_of(pid, proc)
        return found is not None and found.uid == pod_uid

    return owned


def pod_uids(logs: Path = LOGS) -> dict[str, tuple[str, str]]:
    """(namespace, name) by uid, of the pods that the kubelet keeps logs of."""
    try:
        names = [path.name for path in logs.iterdir()]
    except OSError:
        return {}
    matches = (_FOLDER.match(name) for name in names)
    return {_dashed(found["uid"]): (found["namespace"], found["name"]) for found in matches if found}


def gpu_holders(socket: Path = SOCKET, *, timeout_s: float = 5.0) -> dict[str, tuple[Container, ...]]:
    """Containers by UUID of the GPU or MIG instance they were given; several where the plugin shares it.

    A GPU that isn't in it is held by no pod. Raises PodsUnreadable.
    """
    held: dict[str, set[Container]] = defaultdict(set)
    for container, device in _devices(_list(socket, timeout_s)):
        uuid = _REPLICA.sub("", device)  # time-slicing numbers its replicas: GPU-...::3
        if not _UUID.match(uuid):
            said = f"{container} holds device {device!r}, which isn't a UUID"
            raise PodsUnreadable(f"{said}. Set the device plugin's deviceIDStrategy to uuid")
        held[uuid].add(container)
    return {uuid: tuple(sorted(containers)) for uuid, containers in held.items()}


def messages() -> Mapping[str, Any]:
    """Message classes of the API by name, made from `_FIELDS` rather than generated."""
    file = descriptor_pb2.FileDescriptorProto(name="podresources.proto", package="v1", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, repeated, kind in fields:
            label = _REPEATED if repeated else _OPTIONAL
            added = message.field.add(
                name=field, number=number, label=label, type=_MESSAGE if kind else _STRING
            )
            if kind:
                added.type_name = f".v1.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.removeprefix("v1."): kind for name, kind in found.items()}


_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _list(socket: Path, timeout_s: float) -> Any:
    kinds = messages()
    request = kinds["ListPodResourcesRequest"]
    # The authority would be the socket's escaped path, which the kubelet's HTTP/2 server refuses.
    options = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", _MOST_BYTES)]
    with grpc.insecure_channel(f"unix://{socket.absolute()}", options=options) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=request.SerializeToString,
            response_deserializer=kinds["ListPodResourcesResponse"].FromString,
        )
        try:
            return call(request(), timeout=timeout_s)
        except grpc.RpcError as problem:
            code = problem.code().name if isinstance(problem, grpc.Call) else ""
            raise PodsUnreadable(
                f"{socket}: the kubelet gives {code}. Is this a node, and may we read it?"
            ) from problem


def _devices(answer: Any) -> Iterator[tuple[Container, str]]:
    for pod in answer.pod_resources:
        for container in pod.containers:
            for devices in container.devices:
                if devices.resource_name.startswith(VENDOR):
                    for device in devices.device_ids:
                        yield Container(pod.namespace, pod.name, container.name), device


def _dashed(uid: str) -> str:
    """systemd's cgroup names have underscores for dashes. The uid of a static pod has neither."""
    return uid.replace("_", "-")
