"""The resources that a stage may use."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from perennial.specs.base import Spec

_LONGEST_HOURS = {"train": 168, "release": 1, "rollback": 1}


class Toleration(Spec):
    """A Kubernetes toleration of a stage's pod."""

    key: str = Field(default="", description="Key of the taint; any key if empty (with `operator` `Exists`).")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="`Equal`: the taint's value must be `value`; `Exists`: any value."
    )
    value: str = Field(default="", description="Value of the taint.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="Effect of the taint; all effects if empty."
    )


class ComputeSpec(Spec):
    """Resources that a stage may use. On one machine only CPU threads, GPUs and nodes matter; for a pod all of them are limits."""

    cpus: int = Field(default=2, ge=1, description="CPU threads for training; CPUs of a stage's pod.")
    memory_gb: float = Field(default=4, gt=0, description="Memory for the stage, GB.")
    accelerator: Literal["auto", "cpu", "gpu", "tpu"] = Field(
        default="auto",
        description="What trains. `auto`: GPUs if `gpus` is not 0, else the CPU. `tpu`: TPUs by Lightning's accelerator, which needs "
        "`torch_xla` and was tried on none; `gpus` counts them then, and `gpu_resource` names them in a cluster.",
    )
    gpus: int = Field(default=0, ge=0, description="GPUs of each node; 0 trains on the CPU.")
    nodes: int = Field(default=1, ge=1, description="Machines that train one model together.")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Name of the Kubernetes resource for GPUs.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels that the nodes of a stage's pod must have.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Tolerations of a stage's pod.")
    longest_hours: float | None = Field(
        default=None,
        gt=0,
        le=87_600,
        description="Longest time that a stage may take at one try, hours; what takes longer is ended and told, and not tried again but "
        "for a look of `release`. Unset: 168 for `train`, 1 for a look of `release` and for `rollback`, 24 for the others.",
    )
    runtime_class: str = Field(default="", description="Kubernetes runtime class of a stage's pod; the cluster's default if empty.")
    queue: str = Field(default="", description="Kueue queue in which a stage's pod waits for resources; none if empty.")

    def longest(self, stage: str) -> timedelta:
        """Longest time that a stage may take."""
        return timedelta(hours=self.longest_hours or _LONGEST_HOURS.get(stage, 24))

    @model_validator(mode="after")
    def _accelerators_are_counted(self) -> ComputeSpec:
        if self.accelerator in ("gpu", "tpu") and not self.gpus:
            raise ValueError(f"accelerator {self.accelerator!r} needs gpus, how many of them a node has: set gpus=1 or more")
        if self.accelerator == "cpu" and self.gpus:
            raise ValueError(f"accelerator 'cpu' uses no GPU, and gpus is {self.gpus}: leave one of them out")
        return self
