"""Envoy's counters as arms. Envoy forgets its counters when it restarts or a cluster is made anew; what is kept here only grows."""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from perennial.serving import envoy
from perennial.serving.route import Arm

_CLUSTER = re.compile(r"cluster\.(.+?-v\d+)(?:-then-v\d+)?\.upstream_rq_time")
_Buckets = dict[float, int]


def read_arms(clusters: str, histograms: str) -> dict[str, Arm]:
    """The raw counters of every version's cluster, by the cluster's name.

    Requests and errors are the endpoint's own, since an answer that was tried again elsewhere is charged to neither cluster. Latency is what
    the caller waited, so it is taken from the cluster that the route chose: the version's own or an aggregate that begins with it.
    """
    latency: dict[str, _Buckets] = defaultdict(lambda: defaultdict(int))
    for entry in json.loads(histograms)["stats"]:
        for histogram in entry.get("histograms", ()):
            found = _CLUSTER.fullmatch(histogram["name"])
            if found:
                for bucket in histogram["buckets"]:
                    latency[found[1]][_bound(float(bucket["upper_bound"]))] += int(bucket["cumulative"])
    arms = {}
    for status in json.loads(clusters)["cluster_statuses"]:
        for host in status.get("host_statuses", ()):
            counts = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"] if "name" in stat}
            health = host["health_status"]
            # a failed health check of another kind than outlier ejection has its own flag; any flag means that no request is sent
            healthy = health.get("eds_health_status", "HEALTHY") == "HEALTHY" and not (set(health) - {"eds_health_status"})
            if "-then-" not in status["name"]:
                arms[status["name"]] = Arm(counts["rq_total"], counts["rq_error"], _cumulative(latency[status["name"]]), healthy)
    return arms


def _bound(milliseconds: float) -> float:
    return math.inf if milliseconds >= envoy.BUCKETS_MS[-1] else milliseconds


def _cumulative(buckets: Mapping[float, int]) -> tuple[tuple[float, int], ...]:
    return tuple(sorted(buckets.items()))


class Observations:
    """Totals of every version, kept in a file. The caller holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, dict[str, Any]] = json.loads(path.read_text())
        except FileNotFoundError:
            self.known = {}

    def add(self, model: str, versions: Iterable[int], raw: Mapping[str, Arm]) -> dict[int, Arm]:
        """Add what is new in the raw counters to the totals of each version and keep them; forgets versions that are not named."""
        arms = {}
        names = {version: envoy.cluster_name(model, version) for version in versions}
        for version, name in names.items():
            now = raw.get(name, Arm(healthy=False))
            counts = _flat(now)
            before = self.known.get(name, {"last": {}, "base": {}})
            last, base = before["last"], before["base"]
            fell = {key for key, value in last.items() if counts.get(key, 0) < value}
            # What fell began anew and goes on top. Latencies may do so alone: they leave with an aggregate, the endpoint counts its requests on.
            anew = {*last} if fell & {"requests", "errors"} else {*last} - {"requests", "errors"} if fell else set()
            base = {key: base.get(key, 0) + (last.get(key, 0) if key in anew else 0) for key in {*base, *last, *counts}}
            self.known[name] = {"base": base, "last": counts}
            arms[version] = _arm({key: base.get(key, 0) + counts.get(key, 0) for key in base}, now.healthy)
        mine = re.compile(re.escape(model) + r"-v\d+")
        self.known = {name: kept for name, kept in self.known.items() if name in names.values() or not mine.fullmatch(name)}
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.unfinished")
        unfinished.write_text(json.dumps(self.known))
        unfinished.replace(self.path)
        return arms


def _flat(arm: Arm) -> dict[str, int]:
    return {"requests": arm.requests, "errors": arm.errors, **{f"{bound:g}": count for bound, count in arm.latency_ms}}


def _arm(counts: Mapping[str, int], healthy: bool) -> Arm:
    buckets = {float(key): count for key, count in counts.items() if key not in ("requests", "errors")}
    return Arm(counts["requests"], counts["errors"], _cumulative(buckets) if buckets else ((math.inf, 0),), healthy)
