"""Settings of the engines beyond this machine (docs/clusters.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from oracle.settings_fields import FilePath, MaybePath, Section, SlurmName, Url


class SlurmSettings(Section):
    """For templates with `engine = "slurm"`. `spool` is the folder that Prolog and Epilog (`slurm_meter.sh`)
    write to as `spool_uid`; a GPU is asked for as `gres`, and a job may have `gpus` of them. `python` is this
    package's on the nodes (ours by default), `conf` a slurm.conf elsewhere than usual.
    """

    spool: FilePath = Path("/var/spool/scrip")
    spool_uid: Annotated[int, Field(ge=0)] = 0
    partition: SlurmName = ""
    account: SlurmName = ""
    qos: SlurmName = ""
    gres: Annotated[str, Field(pattern=r"^gpu(:[A-Za-z0-9_.-]{1,64})?$")] = "gpu"
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    python: MaybePath = None
    conf: MaybePath = None


class RaySettings(Section):
    """For templates with `engine = "ray"`. `url` is the dashboard's, `token_file` holds its token; a job may
    have `gpus` of the cluster's; `python` as in `SlurmSettings`.
    """

    url: Url
    token_file: MaybePath = None
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    timeout_s: Annotated[int, Field(ge=1, le=120)] = 10
    python: MaybePath = None
