"""A model's route (which versions share its traffic) and the counts of each version. Plain data, light to import.

>>> from perennial.serving.route import Route
>>> route = Route({7: 9_000, 8: 1_000}, None, {7: "0" * 64, 8: "1" * 64}, champion=7)
>>> route.versions, route.stable
((7, 8), 7)
"""

from __future__ import annotations

from dataclasses import dataclass, field

WHOLE = 10_000  # weights are basis points of this
FRESH = 0  # stands, among the versions that a gateway parts, for a newly started process of the champion; no version has this number
WITHOUT_UNIT = -1  # stands, among the arms, for the champion where requests are in no experiment while one is under way


@dataclass(frozen=True)
class Route:
    """How a model's traffic is shared among versions.

    The champion is the stable one, whatever its weight: it answers again what another version fails, and takes the outcomes.
    Where none is named it is the version of greatest weight (the lower number at a tie).

    Raises:
        ValueError: weights do not add up to 10,000, a version lacks its digest, the shadow has a weight, or the champion has none;
            or an experiment has no champion, or a shadow.
    """

    weights: dict[int, int]  # version -> basis points of 10,000; a version of weight 0 runs and can be addressed, but gets no traffic
    shadow: int | None = None  # version that gets a copy of all traffic and whose answers nobody sees
    digests: dict[int, str] = field(default_factory=dict)  # version -> content address of its folder
    champion: int | None = None
    salt: str | None = None  # of an experiment: units are shared among the versions by it and their key, other requests go to the champion

    def __post_init__(self) -> None:
        if any(weight < 0 for weight in self.weights.values()) or sum(self.weights.values()) != WHOLE:
            raise ValueError(f"weights are {self.weights}: they must not be negative and add up to {WHOLE}")
        if self.shadow is not None and self.weights.get(self.shadow):
            raise ValueError(f"version {self.shadow} is the shadow and has a weight: it can be one of them only")
        if self.champion is not None and self.champion not in self.weights:
            raise ValueError(f"version {self.champion} is the champion and not in the weights: give it one, 0 at least")
        if self.salt is not None and (self.champion is None or self.shadow is not None):
            raise ValueError("an experiment shares units between a champion and another version, and has no shadow")
        missing = [version for version in self.versions if version not in self.digests]
        if missing:
            raise ValueError(f"version {missing[0]} is in the route without the digest of its folder")

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions that must run, in order."""
        return tuple(sorted({*self.weights, *(() if self.shadow is None else (self.shadow,))}))

    @property
    def stable(self) -> int:
        """The version on which requests are retried that another version failed."""
        return self.champion if self.champion is not None else min(self.weights, key=lambda version: (-self.weights[version], version))


@dataclass(frozen=True)
class Arm:
    """The counts of one version since it first served; they only grow.

    Every request that the weights gave a version is counted once, also those that another version answered in its stead.
    """

    requests: int = 0
    errors: int = 0  # answered with a 5xx, cut off, or too late
    latency_ms: tuple[
        tuple[float, int], ...
    ] = ()  # (upper bound in ms, requests at most that slow): cumulative, the last bound infinite; up to a second behind
    answered: int = 0  # predictions whose callers got an answer of this version's, whatever it was
    unreadable: int = 0  # of these the ones with a 4xx: the version could not read the request
    healthy: bool = True  # whether the gateway would send it a request now; a version that is not gives no evidence
    asked_again: int = 0  # raw counters alone: of the errors, requests that it could not read and another version was asked
