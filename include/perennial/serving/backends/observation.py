"""Counters of versions that survive restarts: gateways and servers forget theirs, the totals kept here only grow."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from perennial.errors import LedgerConflict
from perennial.serving import envoy
from perennial.serving.route import WITHOUT_UNIT, Arm
from perennial.store import Store

_CLUSTER = re.compile(
    r"cluster\.(.+?-v\d+(?:-without-unit)?)(-then-v\d+)?(-or-fallback)?\.(?:upstream_rq_(time|completed|4xx)|(retry\.upstream_rq_400))"
)
_COUNTS = ("requests", "errors", "answered", "unreadable", "asked_again")
_Buckets = dict[float, int]
_TRIES = 5


def read_arms(clusters: str, statistics: str) -> dict[str, Arm]:
    """The raw counters of every version's cluster, by the cluster's name.

    Requests and errors are the endpoint's own, since an answer that was tried again elsewhere is charged to neither cluster. Latency
    and the kind of the answer are what the caller got, so they are taken from the cluster that the route chose: the version's own or an
    aggregate that begins with it. What a version could not read while there was another to ask is charged to its endpoint as an error
    and to the aggregate as a retry; only that says that the version was at fault, since the caller got the other one's answer.
    """
    said: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    latency: dict[str, _Buckets] = defaultdict(lambda: defaultdict(int))
    for entry in json.loads(statistics)["stats"]:
        if counter := _CLUSTER.fullmatch(entry.get("name", "")):
            version, other, fallback, of_caller, of_version = counter.groups()
            if of_version or not (other and of_caller == "4xx"):
                value = int(entry["value"])
                # Before a fallback is asked, the other one may have been unable to read it too: then each request counts two retries.
                said[version][of_version or of_caller] += value // 2 if of_version and fallback else value
        for histogram in entry.get("histograms", ()):
            match = _CLUSTER.fullmatch(histogram["name"])
            if match:
                for bucket in histogram["buckets"]:
                    latency[match[1]][_bound(float(bucket["upper_bound"]))] += int(bucket["cumulative"])
    arms = {}
    for status in json.loads(clusters)["cluster_statuses"]:
        for host in status.get("host_statuses", ()):
            counts = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"] if "name" in stat}
            health = host["health_status"]
            # a failed health check of another kind than outlier ejection has its own flag; any flag means that no request is sent
            healthy = health.get("eds_health_status", "HEALTHY") == "HEALTHY" and not (set(health) - {"eds_health_status"})
            if "-then-" not in status["name"]:
                slow, answers = _cumulative(latency[status["name"]]), said[status["name"]]
                again = answers["retry.upstream_rq_400"]
                arms[status["name"]] = Arm(
                    counts["rq_total"], counts["rq_error"], slow, answers["completed"], answers["4xx"] + again, healthy, asked_again=again
                )
    return arms


def _bound(milliseconds: float) -> float:
    return math.inf if milliseconds >= envoy.BUCKETS_MS[-1] else milliseconds


def _cumulative(buckets: Mapping[float, int]) -> tuple[tuple[float, int], ...]:
    return tuple(sorted(buckets.items()))


class Kept(Protocol):
    """The interface of a place where totals are kept between two looks."""

    def read(self) -> bytes | None:
        """The totals that were kept last; None if there are none."""
        ...

    def write(self, data: bytes) -> None:
        """Keep this instead.

        Raises:
            KeptMeanwhile: another process kept something since it was read.
        """
        ...


class KeptMeanwhile(Exception):
    """Another process has added to the totals since they were read: read them and the counters again."""


class KeptInFile:
    """Totals in a file of this machine. The caller holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """See `Kept.read`."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, data: bytes) -> None:
        """See `Kept.write`."""
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.unfinished")
        unfinished.write_bytes(data)
        unfinished.replace(self.path)


class KeptInStore:
    """Totals in the store: `observed/<model>/<8-digit number>.json`, each written by put-if-absent in the place
    after the one that was read.

    So of two processes that look at the same time one keeps its totals and the other looks again. Of the older ones a few are left.
    """

    _LEFT = 3

    def __init__(self, store: Store, model: str) -> None:
        self._store, self._folder = store, f"observed/{model}"
        self._number = -1

    def read(self) -> bytes | None:
        """See `Kept.read`."""
        while numbers := self._numbers():
            self._number = numbers[-1]
            with contextlib.suppress(KeyError):  # taken away since the listing: then there are newer ones
                return self._store.read(self._key(self._number))
        self._number = -1
        return None

    def write(self, data: bytes) -> None:
        """See `Kept.write`."""
        if not self._store.put_if_absent(self._key(self._number + 1), data):
            raise KeptMeanwhile
        self._number += 1
        for number in self._numbers():
            if number <= self._number - self._LEFT:
                self._store.delete(self._key(number))

    def forget(self) -> None:
        """Remove all."""
        for number in self._numbers():
            self._store.delete(self._key(number))

    def _numbers(self) -> list[int]:
        return sorted(int(item.key.rsplit("/", 1)[-1].removesuffix(".json")) for item in self._store.list(self._folder))

    def _key(self, number: int) -> str:
        return f"{self._folder}/{number:08d}.json"


class Observations:
    """Totals of every version, which only grow while what they are counted from comes and goes.

    Counters are read from sources: one cluster of the gateway for each version, `m-v1`, or its pods, `m-v1/<pod>`.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self.known: dict[str, dict[str, Any]] = json.loads(kept.read() or b"{}")

    def add(self, model: str, versions: Iterable[int], raw: Mapping[str, Arm], *, in_experiment: int | None = None) -> dict[int, Arm]:
        """Add what is new in the raw counters to the totals of each version and keep them; forgets versions that are not named.

        Args:
            model: name of the model.
            versions: of its route.
            raw: the raw counters.
            in_experiment: the champion, while an experiment is under way: its requests without a unit are totals of their own.

        Raises:
            KeptMeanwhile: another process kept totals since these were read.
        """
        arms = {}
        names = {version: envoy.cluster_name(model, version) for version in versions}
        if in_experiment is not None:
            names[WITHOUT_UNIT] = envoy.without_unit_name(model, in_experiment)
        for version, name in names.items():
            before = self.known.get(name, {"base": {}, "last": {}})
            base: dict[str, int] = before["base"]
            now = {source: arm for source, arm in raw.items() if source.partition("/")[0] == name}
            latest: dict[str, dict[str, int]] = {source: _flat(arm) for source, arm in now.items()}
            for source, last in before["last"].items():
                if source not in now and source != name:
                    latest[source] = last  # a pod has its name once: it is gone, or was not seen just now
                    continue
                for key in _begun_anew(last, latest.get(source, {})):
                    base[key] = base.get(key, 0) + last[key]
            keys = {*_COUNTS}.union(base, *latest.values())
            total = {key: base.get(key, 0) + sum(counts.get(key, 0) for counts in latest.values()) for key in keys}
            # Of the two counts the second is read last, and may hold some requests that the first has not: totals only grow.
            total["errors"] = max(before.get("errors", 0), total["errors"] - total.pop("asked_again"))
            self.known[name] = {"base": base, "last": latest, "errors": total["errors"]}
            arms[version] = _arm(total, any(arm.healthy for arm in now.values()))
        mine = re.compile(re.escape(model) + r"-v\d+(-without-unit)?")
        self.known = {name: kept for name, kept in self.known.items() if name in names.values() or not mine.fullmatch(name)}
        self._kept.write(json.dumps(self.known).encode())
        return arms


def add_in_store(store: Store, model: str, versions: Iterable[int], figures: Callable[[], Mapping[str, Arm]]) -> dict[int, Arm]:
    """Totals of each version, kept in the store, with what the raw counters show now.

    Args:
        store: where the totals are kept.
        model: name of the model.
        versions: those of its route.
        figures: reads the raw counters, by source.

    Raises:
        LedgerConflict: others keep looking at the same time.
    """
    wanted = tuple(versions)
    for _ in range(_TRIES):
        # Totals first, then the counters: what another look adds meanwhile makes this one begin again, and no total falls.
        observations = Observations(KeptInStore(store, model))
        with contextlib.suppress(KeptMeanwhile):
            return observations.add(model, wanted, figures())
    raise LedgerConflict(f"Others keep looking at {model} at the same time. Look again.")


def _begun_anew(last: Mapping[str, int], counts: Mapping[str, int]) -> set[str]:
    """Counters of a source that began again at zero: what they had shown goes on top of what they show.

    Latencies and kinds of answers may do so alone: they leave with an aggregate of the gateway, whose endpoint counts its requests on.
    """
    fell = {key for key, value in last.items() if counts.get(key, 0) < value}
    if fell & {"requests", "errors"}:
        return {*last}
    return {*last} - {"requests", "errors"} if fell else set()


def _flat(arm: Arm) -> dict[str, int]:
    return {**{name: getattr(arm, name) for name in _COUNTS}, **{f"{bound:g}": count for bound, count in arm.latency_ms}}


def _arm(counts: Mapping[str, int], healthy: bool) -> Arm:
    buckets = {float(key): count for key, count in counts.items() if key not in _COUNTS}
    slow = _cumulative(buckets) if buckets else ((math.inf, 0),)
    return Arm(counts["requests"], counts["errors"], slow, counts["answered"], counts["unreadable"], healthy)
