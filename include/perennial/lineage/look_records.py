"""How records of looks are read and grow: one object for a release or an experiment, thinned out where it gets long. Light.

>>> from datetime import timedelta, timezone
>>> from perennial.lineage.experiments import Look
>>> noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
>>> looks = tuple(Look(time=noon + timedelta(seconds=at), share=0.5, sentence="So.") for at in (0, 10, 11, 30))
>>> [look.time.second for look in thinned(looks, 3)]
[0, 11, 30]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from perennial.errors import StoredDataDamaged
from perennial.store import Store


class Timed(Protocol):
    """Something with a moment."""

    @property
    def time(self) -> datetime:
        """The moment."""
        ...


RecordT = TypeVar("RecordT", bound=BaseModel)
LookT = TypeVar("LookT", bound=Timed)


def read_record(store: Store, key: str, form: type[RecordT], what: str) -> RecordT | None:
    """The record at a key; None if there is none.

    Args:
        store: has it.
        key: its place.
        form: its type.
        what: it is of, such as "this release".

    Raises:
        StoredDataDamaged: it cannot be read.
    """
    try:
        return form.model_validate_json(store.read(key))
    except KeyError:
        return None
    except ValidationError:
        raise StoredDataDamaged(
            f"What the looks at {what} showed cannot be read ({key}): restore it from a copy of the store, or delete it. "
            "What was decided stands in the ledger."
        ) from None


def is_newer(look: Timed, looks: Sequence[Timed]) -> bool:
    """Whether a look is to be added: one that was kept already, or is older than the newest, is not."""
    return not looks or look.time > looks[-1].time


def thinned(
    looks: tuple[LookT, ...], most: int, may_go: Callable[[Sequence[LookT], int], bool] = lambda looks, at: True
) -> tuple[LookT, ...]:
    """So many looks at most: those that stand closest between their neighbours go first; never the ends.

    Args:
        looks: oldest first.
        most: that are kept, but for those that may not go.
        may_go: whether the look at a place may.
    """
    kept = list(looks)
    while len(kept) > most:
        inner = [at for at in range(1, len(kept) - 1) if may_go(kept, at)]
        if not inner:
            break
        del kept[min(inner, key=lambda at: kept[at + 1].time - kept[at - 1].time)]
    return tuple(kept)
