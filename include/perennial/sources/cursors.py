"""Values of a cursor as text that tells their type, as watermarks keep them. Light: views read them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

_KINDS = {"int": int, "float": float, "str": str, "datetime": datetime.fromisoformat, "date": date.fromisoformat, "Decimal": Decimal}


def as_text(value: Any) -> str:
    """A value of a cursor as text that tells its type, such as `int:42`.

    Raises:
        TypeError: it is of no type that cursors have.
    """
    kind = type(value).__name__
    if kind not in _KINDS:
        raise TypeError(f"a cursor cannot be of the type {kind}")
    return f"{kind}:{value}"


def as_value(text: str | None) -> Any:
    """The value that `as_text` wrote; None for none.

    >>> as_value(as_text(datetime(2026, 3, 1, 8)))
    datetime.datetime(2026, 3, 1, 8, 0)
    """
    if text is None:
        return None
    kind, _, said = text.partition(":")
    return _KINDS[kind](said)  # type: ignore[operator]
