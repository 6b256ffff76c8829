"""The columns of a dataset and their types."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from perennial.specs.base import Spec

ColumnType = Literal["int", "float", "string", "timestamp", "bool", "list", "text", "array", "image"]


ElementType = Literal["", "float", "int", "string"]


MOST_PLACES, IMAGE_AXES = 1_000_000, 2  # of an array or an image


NO_SCALARS: tuple[ColumnType, ...] = (
    "list",
    "text",
    "array",
    "image",
)  # types whose value is no single number, word or time: see `column_types`


class Column(Spec):
    """One column of a dataset."""

    name: str = Field(
        description="Column name, without blanks around it. Names that begin with `_` are reserved for columns that tables add."
    )
    type: ColumnType = Field(
        description="Type in the table. `string` names a category or an id, `text` is free text that is read for its words, "
        "`list` holds numbers or words: see `of`. `array` is as many numbers as its `shape` has places, `image` a PNG or JPEG picture."
    )
    of: ElementType = Field(default="", description="What a `list` holds: `float`, `int` or `string`; or an `array`: `float` or `int`.")
    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="Lengths of the axes of an `array`, or the height and width to which an `image` is brought, in pixels."
    )
    mode: Literal["", "L", "RGB"] = Field(
        default="", description="To what an `image` is brought: `L` (grey, one number for each pixel) or `RGB` (three)."
    )
    longest: int | None = Field(
        default=None,
        ge=1,
        description="Most elements of a `list` (10,000 if unset), characters of a `text` (100,000) or bytes of an `image` (10 MB), "
        "in files and in requests.",
    )
    nullable: bool = Field(default=False, description="Whether the value may be missing.")
    meaning: str = Field(default="", description="What the value means, with its unit.")

    @field_validator("name")
    @classmethod
    def _is_a_column_name(cls, name: str) -> str:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise ValueError(
                f"{name!r} is no column name: give it at least one sign that can be seen, no blanks around it and no line breaks"
            )
        if name.startswith("_"):
            raise ValueError(f"{name!r} is no column name: names that begin with _ are those of columns that tables add")
        return name

    @model_validator(mode="after")
    def _says_what_it_holds(self) -> Column:
        if self.type == "list" and not self.of:
            raise ValueError(f"{self.name} is a list, and of what is not said: write of='float', of='int' or of='string'")
        if self.type == "array" and (self.of not in ("float", "int") or not self.shape):
            raise ValueError(f"{self.name} is an array: write of='float' or of='int', and the lengths of its axes as shape=(8, 8)")
        if self.type == "image" and (len(self.shape) != IMAGE_AXES or not self.mode):
            raise ValueError(f"{self.name} is an image: write its height and width as shape=(28, 28), and mode='L' or mode='RGB'")
        for field, has, types in (
            (f"of={self.of!r}", self.of, ("list", "array")),
            ("shape", self.shape, ("array", "image")),
            ("mode", self.mode, ("image",)),
            ("longest", self.longest, ("list", "text", "image")),
        ):
            if has and self.type not in types:
                raise ValueError(f"{self.name} has {field}, which only {' or '.join(types)} columns have: its type is {self.type}")
        if math.prod(self.shape) > MOST_PLACES:
            raise ValueError(f"{self.name} has {math.prod(self.shape):,} places, and {MOST_PLACES:,} are the most")
        return self
