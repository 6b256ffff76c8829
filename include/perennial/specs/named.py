"""What a dataset and a model have in common: a name, an owner, and who is told of incidents."""

from __future__ import annotations

from pydantic import Field, field_validator

from perennial.specs.alerts import Alerts
from perennial.specs.base import NAME, Spec


class Named(Spec):
    """A spec with a name and an owner."""

    name: str = Field(description="Lower-case name, used for file, folder, DAG and table.")
    title: str = Field(description="Name for people, as reports show it.")
    owner: str = Field(description="Responsible person or team.")
    alerts: Alerts = Field(
        default=(),
        description="Channels that are told of its incidents; those of the whole platform (mail and webhook) if there are none. Those of a "
        "dataset are told, besides those of the models that learn from it, of what concerns its data: files that are refused, and "
        "ingestions and profiles that fail.",
    )
    example: bool = Field(
        default=False,
        description="Whether it is an example, which is there only where `PERENNIAL_EXAMPLES` names it; a dataset also where that names a "
        "model of it.",
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name: use lower-case letters, digits and underscores, a letter first, at most 40")
        return name
