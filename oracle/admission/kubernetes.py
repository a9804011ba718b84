"""Kubernetes: what the API server asks before it stores a pod or a Job (admission.k8s.io/v1).

Of an object only what decides is read, and exactly that may not change afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from oracle.admission.keeper import Live
from oracle.admission.office import Office
from oracle.admission.rule import Claim, Denied, System, Why
from oracle.settings_admission import KubernetesAdmission
from scrip.types import sku_id

SYSTEM: Final[System] = "kubernetes"
ANNOTATION: Final = "scrip.dev/job"
"""Names the escrow job, 0x and 64 hex digits: too long for a label."""
API_VERSION: Final = "admission.k8s.io/v1"
_JOB_ID: Final = re.compile(r"0x([0-9a-f]{64})", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,6}", re.ASCII)
_CPU: Final = re.compile(r"(\d{1,6})(?:\.(\d{1,3}))?|(\d{1,9})m", re.ASCII)
_PLAIN: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_HUGE: Final = "hugepages-"


class _Read(BaseModel):
    """Part of an object: what isn't named is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Owner(_Read):
    """`metadata.ownerReferences[]`."""

    api_version: str = Field("", alias="apiVersion")
    kind: str = ""
    uid: str = ""
    controller: bool = False


class Meta(_Read):
    """`metadata`."""

    uid: Annotated[str, Field(max_length=64)] = ""
    annotations: Mapping[str, str] | None = None
    owners: tuple[Owner, ...] | None = Field(None, alias="ownerReferences")

    @property
    def job(self) -> str:
        """What the annotation says, "" without one."""
        return (self.annotations or {}).get(ANNOTATION, "")


class Amounts(_Read):
    """`resources` of a container. DRA's `claims` are devices that no limit shows."""

    limits: Mapping[str, str | int | float] | None = None
    requests: Mapping[str, str | int | float] | None = None
    claims: tuple[Any, ...] | None = None


class Container(_Read):
    """A container, or one that runs before (`restartPolicy: Always`: and stays, a sidecar)."""

    resources: Amounts = Amounts()
    restart: str = Field("", alias="restartPolicy")


class PodSpec(_Read):
    """`spec` of a pod."""

    containers: tuple[Container, ...] = ()
    first: tuple[Container, ...] | None = Field(None, alias="initContainers")
    seconds: int | None = Field(None, alias="activeDeadlineSeconds")
    selects: Mapping[str, str] | None = Field(None, alias="nodeSelector")
    claims: tuple[Any, ...] | None = Field(None, alias="resourceClaims")


class Template(_Read):
    """`spec.template` of a Job."""

    spec: PodSpec


class JobSpec(_Read):
    """`spec` of a Job. One that is suspended may start again, with all of its time."""

    template: Template
    parallelism: int | None = None
    seconds: int | None = Field(None, alias="activeDeadlineSeconds")
    suspend: bool | None = None


class Pod(_Read):
    """A pod."""

    metadata: Meta
    spec: PodSpec


class Job(_Read):
    """A Job of batch/v1."""

    metadata: Meta
    spec: JobSpec


class Kind(_Read):
    """`request.kind`."""

    group: str
    version: str
    kind: str


class User(_Read):
    """`request.userInfo`."""

    username: str = ""


class Request(_Read):
    """`request` of a review."""

    uid: Annotated[str, Field(min_length=1, max_length=128)]
    kind: Kind
    operation: str
    namespace: str = ""
    user: User = Field(User(), alias="userInfo")
    new: dict[str, Any] | None = Field(None, alias="object")
    old: dict[str, Any] | None = Field(None, alias="oldObject")
    dry: bool | None = Field(None, alias="dryRun")


class Review(_Read):
    """An AdmissionReview as it is asked."""

    api_version: Annotated[str, Field(alias="apiVersion", pattern=f"^{re.escape(API_VERSION)}$")]
    kind: Annotated[str, Field(pattern="^AdmissionReview$")]
    request: Request


_KINDS: Final[Mapping[tuple[str, str], type[Pod] | type[Job]]] = {("", "Pod"): Pod, ("batch", "Job"): Job}


class Webhook:
    """Answers reviews. Safe to share between threads."""

    def __init__(self, office: Office, given: KubernetesAdmission, gpu_sku: str, cpu_sku: str) -> None:
        self._office, self._given = office, given
        self._gpu_sku, self._cpu_sku = gpu_sku, cpu_sku
        self._payers = {name: frozenset(payers) for name, payers in given.namespaces.items()}

    def answer(self, review: Review) -> dict[str, Any]:
        """The AdmissionReview that answers this one."""
        request = review.request
        response: dict[str, Any] = {"uid": request.uid, "allowed": True}
        try:
            self._decide(request)
        except Denied as denied:
            code, reason = (503, "ServiceUnavailable") if denied.passing else (403, "Forbidden")
            status = {"code": code, "reason": reason, "message": f"scrip: {denied.reason}"}
            response |= {
                "allowed": False, "status": status, "auditAnnotations": {"denied": denied.why.value},
            }  # fmt: skip
        return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}

    def _decide(self, request: Request) -> None:
        """Raise Denied unless the request may go on. What ends a workload always may: the list of those that
        are left says when its job is free again.
        """
        kind = _KINDS.get((request.kind.group, request.kind.kind))
        if kind is not None and request.operation in ("CREATE", "UPDATE"):
            with self._office.metrics.decision(SYSTEM, dry=bool(request.dry)):
                self._check(kind, request)

    def _check(self, kind: type[Pod] | type[Job], request: Request) -> None:
        new = _parsed(kind, request.new)
        if request.operation == "UPDATE":
            _check_same(_parsed(kind, request.old), new)
        elif not isinstance(new, Pod) or not self._is_of_job(request, new):
            self._office.admit(self._claim(request, new), dry=bool(request.dry))

    def _is_of_job(self, request: Request, pod: Pod) -> bool:
        """Whether the Job controller made this pod, for a Job that was admitted and still may run: it is part
        of that workload. Anyone can write an owner into a pod, but nobody else has the controller's name.
        """
        owner = next((one for one in pod.metadata.owners or () if one.controller), None)
        if request.user.username != self._given.job_controller or owner is None or owner.kind != "Job":
            return False
        job_id = self._office.book.job_of(SYSTEM, owner.uid)
        if job_id is None:
            raise Denied(Why.JOB, f"the Job {owner.uid} that owns this pod wasn't admitted, or has ended")
        claim = Claim(SYSTEM, job_id, owner.uid, 0, None, 0, None, frozenset())
        self._office.admit(claim, dry=bool(request.dry), started=True)
        return True

    def _claim(self, request: Request, new: Pod | Job) -> Claim:
        meta = new.metadata
        if isinstance(new, Job):
            pod, times, seconds = new.spec.template.spec, new.spec.parallelism, new.spec.seconds
            times = 1 if times is None else times
            if new.spec.suspend:
                raise Denied(Why.FORM, "a suspended Job has no time limit that holds. Create it to run")
        else:
            pod, times, seconds = new.spec, 1, new.spec.seconds
        found = _JOB_ID.fullmatch(meta.job)
        if found is None:
            raise Denied(
                Why.FORM,
                f"this namespace runs paid jobs only. Name yours: annotation {ANNOTATION}: 0x<job id>",
            )
        if not meta.uid:
            raise Denied(Why.FORM, "the object has no uid: the webhook must be a validating one")
        if seconds is None or seconds <= 0:
            raise Denied(Why.FORM, "no time limit is given. Set activeDeadlineSeconds in its spec")
        gpus, cpu_milli = self._amounts(pod)
        return Claim(
            SYSTEM, bytes.fromhex(found[1]), meta.uid, gpus * times,
            None if cpu_milli is None else cpu_milli * times, seconds, self._sku(pod, gpus),
            self._payers.get(request.namespace, frozenset()),
        )  # fmt: skip

    def _amounts(self, pod: PodSpec) -> tuple[int, int | None]:
        """GPUs and thousandths of a CPU that the pod holds at once; CPUs None unless all are limited.

        Sidecars run beside the containers; each of the other init containers runs alone with them.
        """
        if pod.claims:
            raise Denied(Why.RESOURCE, "resourceClaims aren't sold here. Ask for GPUs by resources.limits")
        first = pod.first or ()
        beside = [one.resources for one in first if one.restart == "Always"]
        before = [one.resources for one in first if one.restart != "Always"]
        groups = [[*(one.resources for one in pod.containers), *beside]]
        groups += [[one, *beside] for one in before]
        for one in (item for group in groups for item in group):
            self._check_sold(one)
        gpus = max(sum(_count(one, self._given.gpu) for one in group) for group in groups)
        cpus = [[_cpu(one) for one in group] for group in groups]
        if any(one is None for group in cpus for one in group):
            return gpus, None
        return gpus, max(sum(one or 0 for one in group) for group in cpus)

    def _check_sold(self, amounts: Amounts) -> None:
        names = {*(amounts.limits or {}), *(amounts.requests or {})}
        other = sorted(name for name in names - _PLAIN - {self._given.gpu} if not name.startswith(_HUGE))
        if other or amounts.claims:
            what = ", ".join(other) or "resources.claims"
            raise Denied(Why.RESOURCE, f"{what} isn't sold here, only whole GPUs are ({self._given.gpu})")

    def _sku(self, pod: PodSpec, gpus: int) -> bytes | None:
        if not gpus:
            label = self._cpu_sku
        elif self._given.skus:
            label = self._given.skus.get((pod.selects or {}).get(self._given.product_label, ""), "")
        else:
            label = self._gpu_sku
        return sku_id(label) if label else None


def workloads(items: Iterable[Mapping[str, Any]]) -> Sequence[Live]:
    """Pods and Jobs of `kubectl get pods,jobs -o json`, oldest first: those that haven't ended. Pods of a Job
    that is listed are part of it. A workload is its uid.
    """
    listed = [item for item in items if (_group(item), item.get("kind")) in _KINDS and not _ended(item)]
    listed.sort(key=lambda item: str(item["metadata"].get("creationTimestamp", "")))
    jobs = {item["metadata"]["uid"] for item in listed if item["kind"] == "Job"}
    return [_live(item) for item in listed if not jobs & _owners(item)]


class Listed:
    """What `kubectl` listed, as a cluster: of the namespaces under admission only. `doomed` are the arguments
    of `kubectl delete` for what must end.
    """

    system: System = SYSTEM

    def __init__(self, items: Iterable[Mapping[str, Any]], given: KubernetesAdmission) -> None:
        ours = [item for item in items if item["metadata"].get("namespace") in given.namespaces]
        self._live = workloads(ours)
        self._items = {item["metadata"]["uid"]: item for item in ours}
        self.doomed: list[str] = []

    def live(self) -> Sequence[Live]:
        """See `Cluster`."""
        return self._live

    def evict(self, workload: str) -> None:
        """See `Cluster`: to be deleted by whoever listed them, we have no rights there."""
        item = self._items[workload]
        meta = item["metadata"]
        self.doomed.append(f"--namespace={meta['namespace']} {item['kind'].lower()}/{meta['name']}")


def _live(item: Mapping[str, Any]) -> Live:
    meta = Meta.model_validate(item["metadata"])
    found = _JOB_ID.fullmatch(meta.job)
    return Live(meta.uid, None if found is None else bytes.fromhex(found[1]))


def _group(item: Mapping[str, Any]) -> str:
    version = str(item.get("apiVersion", ""))
    return version.partition("/")[0] if "/" in version else ""


def _owners(item: Mapping[str, Any]) -> set[str]:
    return {str(one.get("uid")) for one in item["metadata"].get("ownerReferences") or ()}


def _ended(item: Mapping[str, Any]) -> bool:
    status = item.get("status") or {}
    over = {"Complete", "Failed"}
    conditions = status.get("conditions") or ()
    return status.get("phase") in ("Succeeded", "Failed") or (
        item["kind"] == "Job" and any(one["type"] in over and one["status"] == "True" for one in conditions)
    )


def _parsed(kind: type[Pod] | type[Job], given: dict[str, Any] | None) -> Pod | Job:
    try:
        return kind.model_validate(given)
    except ValueError as problem:
        shown = " ".join(str(problem).split())[:200]
        raise Denied(Why.FORM, f"the {kind.__name__} can't be read: {shown}") from None


def _check_same(old: Pod | Job, new: Pod | Job) -> None:
    if old.metadata.job != new.metadata.job:
        raise Denied(Why.CHANGED, f"annotation {ANNOTATION} can't be changed. Create another workload")
    if old.spec != new.spec:
        raise Denied(
            Why.CHANGED, "resources, parallelism, suspension and time of a paid workload stay as admitted"
        )


def _count(amounts: Amounts, name: str) -> int:
    most = 0
    for given in (amounts.limits or {}, amounts.requests or {}):
        text = str(given.get(name, 0))
        if _COUNT.fullmatch(text) is None:
            raise Denied(Why.FORM, f"{name}: given {text[:20]}, must be a whole number")
        most = max(most, int(text))
    return most


def _cpu(amounts: Amounts) -> int | None:
    given = (amounts.limits or {}).get("cpu")
    if given is None:
        return None
    found = _CPU.fullmatch(str(given))
    if found is None:
        raise Denied(Why.FORM, f"cpu: given {str(given)[:20]}, must be like 2, 0.5 or 500m")
    return int(found[3]) if found[3] else int(found[1]) * 1_000 + int((found[2] or "").ljust(3, "0"))
