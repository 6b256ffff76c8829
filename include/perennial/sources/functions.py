"""Functions of a dataset's file that read a source: how they are found, called and what they may give.

They are somebody else's code. What breaks in one is told with its line; rows become JSON, with times, exact numbers and identifiers as
texts, which the reader of landed files knows.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from perennial.discovery import function_of
from perennial.errors import PerennialError, SourceRefused, SourceUnreachable
from perennial.sources.interface import said


def function(dataset: str, name: str, arguments: str) -> Callable[..., Any]:
    """A function of a dataset's file. Raises SourceRefused if it defines none."""
    found = function_of(dataset, name)
    if found is None:
        raise SourceRefused(
            f"The source of {dataset} is read by a function of its file, and include/perennial_datasets/{dataset}.py defines no "
            f"{name}({arguments}): write it there."
        )
    return found


def given_by(called: Callable[[], Any], dataset: str, name: str, secrets: Iterable[str] = ()) -> Iterator[Any]:
    """What a function of a dataset's file gives, one after the other.

    Args:
        called: calls it.
        dataset: whose file has it.
        name: of the function.
        secrets: texts that no sentence may have.

    Raises:
        SourceUnreachable: it breaks; that may be the server's fault, so that it is tried again.
        SourceRefused: it gives nothing that can be gone through.
    """
    try:
        result = called()
        given = iter(result) if isinstance(result, Iterable) else None
        while given is not None:
            try:
                item = next(given)
            except StopIteration:
                return
            yield item
    except PerennialError:
        raise
    except Exception as error:
        raise _broken(error, dataset, name, secrets) from error
    raise SourceRefused(f"{name} of {dataset} gives nothing that can be gone through: let it yield.")


def as_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in the values that JSON has. Raises TypeError where one has no such form.

    >>> as_record({"id": UUID(int=7), "day": date(2026, 3, 1), "amount": Decimal("1.10"), "tags": {"a"}})
    {'id': '00000000-0000-0000-0000-000000000007', 'day': '2026-03-01', 'amount': '1.10', 'tags': ['a']}
    """
    return {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (date, time, Decimal, UUID)):
        return str(value) if isinstance(value, (Decimal, UUID)) else value.isoformat()
    if isinstance(value, Mapping):
        return as_record(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in (value if isinstance(value, (list, tuple)) else sorted(value, key=str))]
    raise TypeError(f"a {type(value).__name__}, which JSON does not have")


def as_json(value: Any) -> Any:
    """A value as it is once it was stored as JSON. Raises TypeError or ValueError where it cannot be."""
    return json.loads(json.dumps(value, allow_nan=False))


def _broken(error: Exception, dataset: str, name: str, secrets: Iterable[str]) -> SourceUnreachable:
    words = str(error)
    for secret in filter(None, secrets):  # before it is cut short, which could leave a part of one
        words = words.replace(secret, "***")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).stem == dataset]
    at = f" ({dataset}.py, line {frames[-1].lineno})" if frames else ""
    return SourceUnreachable(
        f"{name} of {dataset} broke with {type(error).__name__}: {said(words)}{at}. "
        "What was read before is safe; the next look goes on there."
    )
