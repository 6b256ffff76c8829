"""The counts of all versions that one MLServer runs, for its metrics port: those that every server shows on /metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric

from perennial.serving.served_version import ServedVersion


class Totals:
    """Versions come and go; a family of metrics is shown once, with the samples of all."""

    def __init__(self) -> None:
        self._served: list[ServedVersion] = []

    def add(self, served: ServedVersion) -> None:
        """Show a version's counts from now on."""
        self._served = [*self._served, served]

    def remove(self, served: ServedVersion) -> None:
        """Show them no more."""
        self._served = [other for other in self._served if other is not served]

    def describe(self) -> list[Metric]:
        """None beforehand: asked at registration, when no version is there."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
        families: dict[str, Metric] = {}
        for served in self._served:
            for family in served.metrics.registry.collect():
                if family.name in families:
                    families[family.name].samples.extend(family.samples)
                else:
                    families[family.name] = family
        yield from families.values()


TOTALS = Totals()
