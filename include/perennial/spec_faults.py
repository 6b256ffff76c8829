"""What is wrong with the fields of a spec, in words that name the field.

>>> from perennial.specs import ReleaseSpec
>>> try:
...     ReleaseSpec(alpa=0.01, mode="auto")
... except ValidationError as error:
...     print(fault_words(error))
mode must be 'automatic', 'approval' or 'manual'; ReleaseSpec has no field alpa: did you mean alpha?
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from perennial import specs

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def fault_words(error: ValidationError) -> str:
    """All that is wrong."""
    return "; ".join(_words(detail, error.title) for detail in error.errors())


def _words(detail: ErrorDetails, spec: str) -> str:
    place, name = ".".join(map(str, detail["loc"])), str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "missing":
        return f"{spec} lacks {place}"
    if detail["type"] == "extra_forbidden":
        fields = getattr(getattr(specs, spec, None), "model_fields", {}) if len(detail["loc"]) == 1 else {}
        near = difflib.get_close_matches(name, fields, n=1)
        return f"{spec} has no field {place}{f': did you mean {near[0]}?' if near else ''}"
    said = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{place} {said}".strip()
