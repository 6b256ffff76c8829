"""Derives from an entry of the ledger the gateway's route and the registry's tags."""

from __future__ import annotations

from collections.abc import Sequence

from perennial.lineage.ledger import AGAINST, RETIRED, Entry
from perennial.registry.model_registry import CANDIDATE, CHAMPION, LAST_GOOD, NOTED, Standing
from perennial.serving.route import WHOLE, Route
from perennial.stages._release_steps import Change


def all_to(champion: int, good: Sequence[int]) -> dict[int, int]:
    """Weights that give a champion all traffic. The version to go back to, first in `good`, stays warm: going back takes no start."""
    return {champion: WHOLE, **dict.fromkeys(good[:1], 0)}


def route_of(entry: Entry | Change) -> Route | None:
    """The route that an entry asks for, written or not; None if nothing is to serve."""
    if entry.candidate is not None and entry.champion is None:
        return Route({entry.version: WHOLE}, None, {entry.version: entry.versions[entry.version]}, entry.version)
    if not entry.weights:
        return None
    running = {*entry.weights, *(() if entry.shadow is None else (entry.shadow,))}
    return Route(dict(entry.weights), entry.shadow, {number: entry.versions[number] for number in running}, entry.champion, entry.salt)


def roles_of(entry: Entry) -> dict[str, int | None]:
    """The versions that have the roles of champion and last good after an entry."""
    return {CHAMPION: entry.champion, LAST_GOOD: entry.last_good}


def follows(standing: Standing, entry: Entry) -> bool:
    """Whether the registry says all that an entry says, and still has its roles so."""
    roles = all(standing.roles.get(alias) == number for alias, number in roles_of(entry).items())
    return roles and standing.followed == entry.note and standing.roles.get(CANDIDATE) not in (entry.version, entry.champion)


def marks(entry: Entry) -> dict[str, str]:
    """The registry tags of the version whose release, or whose service, an entry ended."""
    mark: dict[str, str] = {entry.kind: entry.reason} if entry.kind in (*AGAINST, RETIRED) else {"promoted": entry.time.isoformat()}
    return {**mark, NOTED: entry.note}
