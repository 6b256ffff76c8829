"""What a version may take at most, whose requirement that is, and who answers for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from perennial.specs.base import Spec

Limited = Literal["p95_ms", "memory_mb", "folder_mb", "joules"]


class RequirementSpec(Spec):
    """The system requirement that a floor of the gate serves, and who answers for it."""

    requirement: str = Field(
        min_length=1, description="The requirement, by its number or in a few words, such as `R-12: answers in 50 ms`."
    )
    owner: str = Field(min_length=1, description="Person or team to ask before it is changed.")

    @property
    def words(self) -> str:
        """Both, as refusals and pages say them."""
        return f"requirement {self.requirement}; owner {self.owner}"


class LimitSpec(RequirementSpec):
    """An absolute limit of a version, with the system requirement that it serves and who answers for it."""

    at_most: float = Field(gt=0, description="The greatest value that is allowed.")
