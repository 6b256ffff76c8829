"""What a training costs: the price table of `PERENNIAL_PRICES`, and energy by declared watts. Light.

>>> prices = Prices.read('{"currency": "EUR", "cpu_hour": 0.04, "gb_hour": 0.005}')
>>> round(prices.money(hours=0.5, cpus=2, gpus=0, memory_gb=4), 4)
0.05
>>> Prices.read("").is_set
False
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Prices(BaseModel):
    """Money for what is reserved, and watts of what works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = Field(default="USD", min_length=1, max_length=12, description="Name of the money.")
    cpu_hour: float = Field(default=0, ge=0, description="Money for one CPU for an hour.")
    gpu_hour: float = Field(default=0, ge=0, description="Money for one GPU for an hour.")
    gb_hour: float = Field(default=0, ge=0, description="Money for one GB of memory for an hour.")
    # An average of AWS's vCPUs at full load, and of memory: Cloud Carbon Footprint, "Methodology" (cloudcarbonfootprint.org).
    watts_cpu: float = Field(default=3.5, ge=0, description="Watts of one CPU that works.")
    watts_gb: float = Field(default=0.392, ge=0, description="Watts of one GB of memory.")
    watts_gpu: float = Field(default=400, ge=0, description="Watts of one GPU that works; 400 is the limit of an NVIDIA A100 SXM.")

    @classmethod
    def read(cls, text: str) -> Prices:
        """The table of a JSON text; the defaults of an empty one.

        Raises:
            ValueError: it is no such table; the sentence says where.
        """
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            names = ", ".join(cls.model_fields)
            raise ValueError(f"{f'{where}: ' if where else ''}{first['msg']}; it is a JSON object of {names}") from None

    @property
    def is_set(self) -> bool:
        """Whether anything has a price."""
        return bool(self.cpu_hour or self.gpu_hour or self.gb_hour)

    def money(self, *, hours: float, cpus: float, gpus: int, memory_gb: float) -> float:
        """What it costs to have so many CPUs and GPUs and so much memory for so many hours, whether or not they work."""
        return hours * (cpus * self.cpu_hour + gpus * self.gpu_hour + memory_gb * self.gb_hour)

    def watt_hours(self, *, cpu_seconds: float, gpu_seconds: float, gb_seconds: float) -> float:
        """An estimate of the energy: seconds of work x watts, of memory by its peak. Nothing is measured, and cooling is left out."""
        return (cpu_seconds * self.watts_cpu + gpu_seconds * self.watts_gpu + gb_seconds * self.watts_gb) / 3600
