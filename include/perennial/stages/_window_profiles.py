"""Profiles of a window of live traffic, stored beside its report: of the inputs, and of a version's scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from perennial.errors import StoredDataDamaged
from perennial.monitoring.performance import logged_scores
from perennial.monitoring.scores import watched_scores
from perennial.monitoring.windows import Window, report_folder
from perennial.profiles.layout import Layout
from perennial.profiles.profile import Profile, profile
from perennial.profiles.state import State
from perennial.profiles.store import decode, encode
from perennial.served_tables import INPUT
from perennial.stages._references import References

log = logging.getLogger("perennial.monitor")


@dataclass(frozen=True)
class WindowProfiles:
    """Counts windows on the layouts of what they are compared with."""

    references: References

    def inputs(self, window: Window, rows: pa.Table, layout: Layout, versions: Collection[int]) -> Profile:
        """The profile of what was asked in a window; `versions` answered it."""
        return self._kept(window, "inputs", rows.num_rows, layout, lambda: self._counted(rows, layout, versions))

    def scores(self, window: Window, rows: pa.Table, layout: Layout) -> Profile:
        """The profile of what one version answered in a window."""
        watched = watched_scores(self.references.spec, logged_scores(rows))
        scored = pa.table({"event_time": rows["event_time"], **watched})
        return self._kept(window, "scores", scored.num_rows, layout, lambda: profile(scored, layout, day="event_time"))

    def _kept(self, window: Window, what: str, rows: int, layout: Layout, count: Callable[[], Profile]) -> Profile:
        """The profile beside the window's report, as long as no more predictions came in; else it is counted and kept there."""
        store = self.references.store
        key = f"{report_folder(self.references.spec.name, window)}/{what}.parquet"
        try:
            kept = decode(store.read(key), layout, key)
            if int(kept.rows().sum()) == rows:
                return kept
        except KeyError:
            pass
        except StoredDataDamaged as damage:  # of another version's layout, usually
            log.info("%s", damage)
        counted = count()
        store.write(key, encode(counted))
        return counted

    def _counted(self, rows: pa.Table, layout: Layout, versions: Collection[int]) -> Profile:
        """Each column on the rows of those versions that read it, columns together where one version reads them all."""

        def counted(readers: Collection[int]) -> Profile:
            own = rows if len(readers) == len(versions) else rows.filter(pc.field("model_version").isin(sorted(readers)))
            plain = own.select(["event_time", *(INPUT + name for name in layout.sources)]).rename_columns(["event_time", *layout.sources])
            return profile(plain, layout, day="event_time")

        readers = {c.name: frozenset(self.references.readers([c.source or c.name], versions)) for c in layout.columns}
        together = frozenset.intersection(frozenset(versions), *readers.values())
        parts = {part: counted(part) for part in {*readers.values(), together, frozenset(versions)}}

        def of(day: date, part: frozenset[int]) -> State:
            return parts[part].blocks.get(day, State.zero(layout))

        days = {
            day: State(layout, whole.rows, {n: of(day, readers[n]).columns[n] for n in layout.names}, of(day, together).joint)
            for day, whole in parts[frozenset(versions)].blocks.items()
        }
        return Profile(layout, days)
