"""What a training used: seconds, memory, an estimate of energy, money. It differs from run to run, so it stays outside of version folders.

>>> from perennial.specs import ComputeSpec
>>> meter = Meter(ComputeSpec(cpus=2, memory_gb=4))
>>> with meter.part("read"):
...     rows = sum(range(100_000))
>>> usage = meter.usage()
>>> list(usage.parts), usage.gpu_seconds, usage.money
(['read'], 0.0, None)
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field

from perennial import tracing
from perennial.errors import SettingMissing, TrainingRefused
from perennial.prices import Prices
from perennial.specs import ComputeSpec, TrainingBudget


class Usage(BaseModel):
    """What one run of a training used, on the first of its nodes unless it says otherwise."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    wall_seconds: float = Field(ge=0, description="From the beginning of the stage to the sealed version; of this run alone if it resumed.")
    cpu_seconds: float = Field(ge=0, description="Of this process and those that it started.")
    gpu_seconds: float = Field(ge=0, description="Seconds of training x GPUs of all nodes, whether they worked or waited.")
    memory_gb: float = Field(ge=0, description="Largest memory of the process.")
    gpu_memory_gb: float = Field(default=0.0, ge=0, description="Largest memory that was allocated on the first GPU.")
    energy_wh: float = Field(ge=0, description="Estimate: seconds of work x declared watts (PERENNIAL_PRICES).")
    money: float | None = Field(default=None, ge=0, description="For what the spec reserves; none without prices.")
    currency: str = Field(default="", description="Of the money.")
    parts: dict[str, float] = Field(default_factory=dict, description="Seconds of each part of the work: the training's profile.")

    @property
    def sentence(self) -> str:
        """What it used, for a person."""
        gpu = f", {self.gpu_seconds:,.0f} GPU seconds ({self.gpu_memory_gb:.2f} GB)" if self.gpu_seconds else ""
        money = "" if self.money is None else f", {self.money:,.4g} {self.currency}"
        return (
            f"It took {self.wall_seconds:,.1f} s: {self.cpu_seconds:,.1f} CPU seconds{gpu}, {self.memory_gb:.2f} GB of memory at most, "
            f"about {self.energy_wh:,.3g} Wh{money}."
        )

    @property
    def profile(self) -> str:
        """Where the time went, for a person; empty if that was not noted."""
        return ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in self.parts.items())

    def figures(self) -> dict[str, float]:
        """The same as figures by name, as an experiment tracker takes them."""
        figures = {
            "wall_seconds": self.wall_seconds,
            "cpu_seconds": self.cpu_seconds,
            "gpu_seconds": self.gpu_seconds,
            "peak_memory_gb": self.memory_gb,
            "gpu_memory_gb": self.gpu_memory_gb,
            "energy_wh": self.energy_wh,
            **({} if self.money is None else {"money": self.money}),
        }
        return {f"used_{name}": value for name, value in figures.items()} | {f"used_{name}_s": value for name, value in self.parts.items()}


class Meter:
    """Measures a training from the moment it is made."""

    def __init__(self, compute: ComputeSpec, prices: Prices | None = None) -> None:
        self.compute, self.prices = compute, prices or Prices()
        self._begun, self._cpu = time.monotonic(), _cpu_seconds()
        self._parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the seconds of the block as one part of the work."""
        since = time.monotonic()
        try:
            with tracing.span(name):
                yield
        finally:
            self._parts[name] = self._parts.get(name, 0.0) + time.monotonic() - since

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Count the seconds of the block as `train`, unless its parts were counted by `add` meanwhile."""
        known, since = dict(self._parts), time.monotonic()
        with tracing.span("learn"):
            yield
        if known == self._parts:
            self._parts["train"] = time.monotonic() - since

    def add(self, parts: Mapping[str, float]) -> None:
        """Count the seconds of parts that were measured elsewhere."""
        self._parts |= parts

    def money(self, seconds: float) -> float:
        """What so many seconds cost, of all nodes."""
        compute = self.compute
        return compute.nodes * self.prices.money(hours=seconds / 3600, cpus=compute.cpus, gpus=compute.gpus, memory_gb=compute.memory_gb)

    def within(
        self, budget: TrainingBudget, model: str, *, counted: str = "epoch", resumes: bool = True
    ) -> Callable[[float, int, int], None]:
        """What ends a training that has used up its budget: it is told the seconds of all its tries, epochs or rounds done, and at most.

        Args:
            budget: of the model's spec.
            model: its name.
            counted: what the training counts: epoch or round.
            resumes: whether it goes on where it ended.

        Raises:
            SettingMissing: at once, where the budget is of money and nothing has a price.
            TrainingRefused: when it is told of more seconds than the budget allows.
        """
        if budget.money is not None and not self.prices.is_set:
            raise SettingMissing(
                f"{model} has a budget of money for its training (training.budget.money), and nothing has a price: "
                "set PERENNIAL_PRICES, or take a budget of minutes."
            )

        def spent(seconds: float, epochs: int, limit: int) -> None:
            used = ""
            if budget.minutes is not None and seconds > 60 * budget.minutes:
                used = f"{seconds / 60:.3g} minutes, and its budget is {budget.minutes:g} (training.budget.minutes)"
            elif budget.money is not None and (money := self.money(seconds)) > budget.money:
                used = f"{money:.3g} {self.prices.currency}, and its budget is {budget.money:g} (training.budget.money)"
            if used:
                after = f"after {counted} {epochs} of at most {limit}" if epochs else f"before its first {counted} was done"
                kept = "It goes on from there" if epochs and resumes else "It begins anew"
                raise TrainingRefused(
                    f"The training of {model} has taken {used}; it is ended {after}. {kept} when you raise the budget in its spec and "
                    "train again on the same snapshot."
                )

        return spent

    def usage(self) -> Usage:
        """What was used until now."""
        wall, cpu, peak = time.monotonic() - self._begun, _cpu_seconds() - self._cpu, _peak_memory()
        trained = sum(self._parts.get(name, 0.0) for name in ("train", "batches", "steps", "validation", "checkpoints"))
        gpu_seconds = trained * self.compute.gpus * self.compute.nodes
        return Usage(
            wall_seconds=round(wall, 3),
            cpu_seconds=round(cpu, 3),
            gpu_seconds=round(gpu_seconds, 3),
            memory_gb=round(peak / 1e9, 4),
            gpu_memory_gb=round(_peak_gpu_memory() / 1e9, 4) if self.compute.gpus else 0.0,
            energy_wh=self.prices.watt_hours(cpu_seconds=cpu, gpu_seconds=gpu_seconds, gb_seconds=peak / 1e9 * wall),
            money=self.money(wall) if self.prices.is_set else None,
            currency=self.prices.currency if self.prices.is_set else "",
            parts={name: round(seconds, 3) for name, seconds in self._parts.items()},
        )


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory() -> float:
    """Largest memory of this process, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _peak_gpu_memory() -> float:
    """Largest memory on the first GPU, bytes; torch is asked only where somebody has used it."""
    torch = sys.modules.get("torch")
    return float(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_initialized() else 0.0
