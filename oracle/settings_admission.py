"""Settings of admission: which orchestrators ask before they run a workload (docs/admission.md)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from oracle.settings_fields import Address, FilePath, MaybePath, Section, SlurmName, parsed, split

MOST_UID: Final = (1 << 32) - 3


def _uids(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for uid in value:
        if not uid.isdecimal() or int(uid) > MOST_UID:
            raise ValueError(f'"{uid}" must be a user number, see: id -u NAME')
    return value


Payers = Annotated[tuple[Address, ...], BeforeValidator(split)]
Skus = Annotated[dict[str, str], BeforeValidator(parsed)]


class SlurmAdmission(Section):
    """Slurm's submit filter asks over the unix socket `socket`; whoever can open it can ask. `partitions` are
    those that the filter guards. `daemon_uid` is the user of the provider's daemon, by default our own;
    `users` lists by user number whose jobs another one may run. `skus` names the hardware of a GRES
    ("gpu:h100"), by default `provider.gpu_sku` of every GPU.
    """

    socket: FilePath
    partitions: Annotated[tuple[SlurmName, ...], BeforeValidator(split), Field(min_length=1)]
    daemon_uid: Annotated[int, Field(ge=0, le=MOST_UID)] | None = None
    users: Annotated[dict[str, Payers], BeforeValidator(parsed), AfterValidator(_uids)] = Field(
        default_factory=dict
    )
    skus: Skus = Field(default_factory=dict)


class KubernetesAdmission(Section):
    """The API server asks by HTTPS with `cert` and `cert_key` (PEM); with `client_ca` only a client whose
    certificate it signed is heard. `namespaces` lists whose jobs each may run. `skus` names the hardware by
    what pods select with `product_label`; empty, every GPU is `provider.gpu_sku`. `gpu` is the resource that
    stands for one GPU, `job_controller` who creates the pods of Jobs.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_443
    cert: FilePath
    cert_key: FilePath
    client_ca: MaybePath = None
    namespaces: Annotated[dict[str, Payers], BeforeValidator(parsed)] = Field(default_factory=dict)
    skus: Skus = Field(default_factory=dict)
    product_label: str = "nvidia.com/gpu.product"
    gpu: str = "nvidia.com/gpu"
    job_controller: str = "system:serviceaccount:kube-system:job-controller"


class AdmissionMetricsAt(Section):
    """Where Prometheus finds `/metrics` of the admissions, by plain HTTP."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_802


class AdmissionSettings(Section):
    """For `scrip oracle admit`. An admission whose workload doesn't show up within `hold_s` is forgotten; the
    chain is asked within `rpc_timeout_s`, because a controller waits for the answer. Without `metrics` there
    are none.
    """

    hold_s: Annotated[int, Field(ge=5, le=3_600)] = 60
    rpc_timeout_s: Annotated[int, Field(ge=1, le=20)] = 3
    slurm: Annotated[SlurmAdmission | None, BeforeValidator(parsed)] = None
    kubernetes: Annotated[KubernetesAdmission | None, BeforeValidator(parsed)] = None
    metrics: Annotated[AdmissionMetricsAt | None, BeforeValidator(parsed)] = None

    @model_validator(mode="after")
    def _asks_somebody(self) -> AdmissionSettings:
        if self.slurm is None and self.kubernetes is None:
            raise ValueError("needs admission.slurm or admission.kubernetes")
        return self
