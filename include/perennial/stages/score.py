"""Score rows in a batch: those of a snapshot, a file or a query, by the champion or another version, with the scorer that serves it.

    $ perennial score --model flight_delays --from 2013-02-01 --to 2013-02-07
    $ perennial score --model flight_delays --file june.csv
    $ perennial score --model flight_delays --query "select * from flights where carrier = 'UA'"

Each row passes the checks of a request: one that a request would refuse is held back and listed, the others are scored. The scores lie in
the table `<model>_scores`, by day, source and version, and count as predictions where monitoring looks; a release does not count them.

Memory holds one block of rows (`scoring.rows_at_once`) while rows are scored. While a day is written it holds the ids and scores that the
day had before, and 50,000 rows with their inputs. A file is read whole.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import discovery
from perennial.counted import counted
from perennial.errors import UnknownName
from perennial.results import ScoreResult
from perennial.served_tables import scores_name
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.stages._score_merge import Merged
    from perennial.stages._score_parts import Part, PartRecord
    from perennial.stages._score_plan import ScorePlan

BY_HAND = "by hand"  # the run of a scoring that no orchestrator started


def run(
    settings: Settings,
    store: Store,
    model: str,
    *,
    version: int | None = None,
    snapshot: int | None = None,
    first: date | None = None,
    last: date | None = None,
    file: str = "",
    query: str = "",
    run: str = "",
    plan: bool = False,
    planned: str = "",
    partition: tuple[int, int] | None = None,
    merge: int | None = None,
) -> ScoreResult:
    """Score the rows, all at once or as planned, in parts that are put together. Doing it again writes the same scores again.

    Args:
        settings: where the serving environment is.
        store: where everything durable is.
        model: name of the model.
        version: that scores; the champion by the ledger if absent.
        snapshot: table version whose rows are scored; the newest if absent.
        first: first day of event time; without days the newest ones, as many as the spec says.
        last: last such day, included.
        file: key in the store or path of a file whose rows are scored instead.
        query: of DuckDB over the tables of the store, whose rows are scored instead.
        run: name of the run, for the record.
        plan: only fix what is to be scored, for those who score the parts.
        planned: name of that plan.
        partition: score one part of a plan alone: the i-th of n.
        merge: put the parts that were scored together, so many.

    Returns:
        `skipped` if there is no champion yet, or there are no rows.

    Raises:
        UnknownName: there is no such model, version, snapshot, file or plan; the rows lack what the version reads; the query fails.
        BatchRefused: the file cannot be read.
        CandidateRefused: the version does not give the scores here that it gave in training.
        Fault: the version fails at every row; or a part that is to be put together has not been scored.
    """
    from perennial.stages._score_parts import Part
    from perennial.stages._score_plan import Asked, joined_dataset, make_plan, read_plan

    spec = discovery.model(model)
    dataset = discovery.dataset(spec.dataset)
    if (partition or merge) and not planned:
        raise UnknownName("A part belongs to a plan: give its name with --planned, as `perennial score --plan` prints it.")
    if planned:
        made = read_plan(store, model, planned)
    else:
        planned_now = make_plan(store, spec, dataset, Asked(version, snapshot, first, last, file, query))
        if isinstance(planned_now, str):
            return ScoreResult(outcome="skipped", sentence=planned_now)
        made = planned_now
    if plan:
        what = f"{counted(made.rows, 'row')} of {made.words} ({made.span})"
        sentence = f"{what} {'is' if made.rows == 1 else 'are'} to be scored by version {made.version} of {model}: plan {made.name}."
        return _result(made, sentence)
    scoring = Scoring(settings, store, spec, joined_dataset(dataset, made.joins), made, run or BY_HAND)
    if partition:
        return scoring.part(Part(*partition))
    return scoring.merged(merge) if merge else scoring.whole()


class Scoring:
    """Does what a plan says."""

    def __init__(self, settings: Settings, store: Store, spec: ModelSpec, dataset: DatasetSpec, plan: ScorePlan, run: str) -> None:
        self.settings, self.store, self.spec, self.dataset, self.plan, self.run = settings, store, spec, dataset, plan, run

    def whole(self) -> ScoreResult:
        """Score all rows and write them."""
        from perennial.stages._score_parts import Part

        with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
            self._score(Part(), Path(scratch))
            return self._merge(1, Path(scratch))

    def part(self, part: Part) -> ScoreResult:
        """Score one part, and keep it for the one who puts the parts together."""
        from perennial.stages._score_parts import keep_part

        plan = self.plan
        with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
            record = self._score(part, Path(scratch))
            keep_part(self.store, plan, part, Path(scratch))
        return _result(plan, f"Part {part.number} of {part.of} of {plan.words}: {counted(record.scored, 'row')} scored, "
                       f"{record.held_back:,} held back.", rows=record.scored, held_back=record.held_back)  # fmt: skip

    def merged(self, parts: int) -> ScoreResult:
        """Put the parts together; what was put together before is told again."""
        from perennial.stages._score_parts import Part, fetch_part

        try:
            return ScoreResult.model_validate_json(self.store.read(f"{self.plan.folder}/done.json"))
        except KeyError:
            pass  # it is to be done
        with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
            for number in range(1, parts + 1):
                fetch_part(self.store, self.plan, Part(number, parts), Path(scratch))
            return self._merge(parts, Path(scratch))

    def _score(self, part: Part, folder: Path) -> PartRecord:
        from perennial.lineage.version_folder import fetch
        from perennial.stages._score_answers import answering
        from perennial.stages._score_parts import score_part
        from perennial.stages._score_plan import open_source

        plan = self.plan
        version_folder = fetch(self.store, plan.model, plan.digest, folder / "version")
        source = open_source(self.store, self.dataset, plan, folder)
        with answering(self.settings, version_folder) as version:
            return score_part(self.dataset, plan, part, source, version, folder)

    def _merge(self, parts: int, folder: Path) -> ScoreResult:
        from perennial.stages._score_merge import Merger

        plan = self.plan
        own = self.spec.model_copy(update={"inputs": plan.inputs})
        merged = Merger(self.store, own, self.dataset, plan, parts, folder, self.run).merge()
        result = _result(
            plan, _sentence(plan, merged), rows=merged.scored, changed=merged.changed, held_back=merged.held_back,
            difference=merged.difference,
        )  # fmt: skip
        self.store.write(f"{plan.folder}/done.json", result.model_dump_json().encode())
        for stored in list(self.store.list(plan.folder)):
            if stored.key.rpartition("/")[2] not in ("plan.json", "done.json"):
                self.store.delete(stored.key)
        return result


def _sentence(plan: ScorePlan, merged: Merged) -> str:
    held_back = ""
    if merged.held_back:
        listed = f"scoring/{plan.model}/held_back/{plan.source}/version-{plan.version}/"
        were = counted(merged.held_back, "row was", "rows were")
        first = f" (the first: {merged.first.rstrip('.')}; {listed} lists them)" if merged.first else ""
        held_back = f" {were} held back{first}."
        if plan.left_out:
            rules = ", ".join(f"{count:,} by `{rule}`" for rule, count in plan.left_out.items())
            held_back += f" Of them the dataset's clean left out {rules}."
    return (
        f"Version {plan.version} of {plan.model} scored {counted(merged.scored, 'row')} of {plan.words} ({plan.span}) in {merged.where}: "
        f"they are in the table {scores_name(plan.model)}, {merged.changed:,} of them new or with another score.{held_back} "
        f"Rows that were scored alone, too, differ by {merged.difference:.2g} at most."
    )


def _result(plan: ScorePlan, sentence: str, **counts: float) -> ScoreResult:
    return ScoreResult(
        sentence=sentence,
        plan=plan.name,
        version=plan.version,
        digest=plan.digest,
        source=plan.source,
        snapshot=plan.snapshot,
        days=len(plan.days),
        table=scores_name(plan.model),
        **counts,
    )
