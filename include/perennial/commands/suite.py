"""`perennial suite suggest`: expectations that the rows of a dataset's table speak for, each with its evidence and its differences to the
suite that is in force. Nothing is written without `--write`, and never over what a person wrote.

    $ perennial suite suggest --dataset flights
    $ perennial suite suggest --dataset flights --from 2013-01-01 --to 2013-02-15 --write
"""

from __future__ import annotations

import difflib
import json as json_text
import os
import textwrap
from collections.abc import Sequence
from datetime import date
from typing import Any

from perennial import discovery
from perennial.commands._suite_facts import facts_of_table
from perennial.errors import EXIT_DONE
from perennial.quality import suites
from perennial.quality.proposals import MOST_BROKEN, BatchFacts, Proposal, over, proposals
from perennial.quality.suite_file import Difference, SuiteFile, differences, expectation_of
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    action: str,
    dataset: str,
    first: date | None = None,
    last: date | None = None,
    write: bool = False,
    json: bool = False,
) -> int:
    """Print what a suite may expect and why; with `write`, put it into the suite's file.

    Raises:
        UnknownName: there is no such dataset, or its table has no rows on these days.
        SettingMissing: the suite's file cannot be read.
    """
    del settings, action
    spec = discovery.dataset(dataset)
    batches, pairs = facts_of_table(store, spec, first, last)
    proposed = proposals(spec, batches, pairs)
    path = suites.file_of(dataset)
    file = SuiteFile.read(dataset, path)
    found = differences(proposed, file.expectations, batches)
    added = [expectation_of(each.proposal) for each in found if each.written and each.replaces is None]
    replaced = {each.replaces: expectation_of(each.proposal) for each in found if each.written and each.replaces is not None}
    text = file.edited(added, replaced) if added or replaced else file.text
    unusable = [proposal for proposal in proposed if not proposal.usable]
    if write and text != file.text:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path.resolve())  # whoever is killed here leaves the suite that was there
    if json:
        print(_as_json(dataset, batches, found, unusable, written=write and text != file.text))
    else:
        print(on_terminal(_as_text(dataset, batches, found, unusable)))
        print(on_terminal(_end(path.name, file.text if path.exists() or write else "", text, write=write)))
    return EXIT_DONE


def _as_text(dataset: str, batches: Sequence[BatchFacts], found: Sequence[Difference], unusable: Sequence[Proposal]) -> str:
    lines = [f"{dataset}: {over(batches)}, from {batches[0].name} to {batches[-1].name}."]
    for each in found:
        proposal = each.proposal
        lines += ["", f"{proposal.words}  [{proposal.severity}; {each.words}]"]
        lines += _indented(proposal.evidence, f"{proposal.tried_words}; {proposal.severity}: {proposal.why_severity}")
    if unusable:
        lines += ["", f"Not proposed, since more than {MOST_BROKEN:.0%} of the newer batches would have failed:"]
        for proposal in unusable:
            lines += [f"  {proposal.words}", *_indented(proposal.evidence, proposal.tried_words, indent="    ")]
    return "\n".join(lines)


def _indented(*clauses: str, indent: str = "    ") -> list[str]:
    return [line for clause in clauses for line in textwrap.wrap(clause, 120, initial_indent=indent, subsequent_indent=indent + "  ")]


def _end(name: str, before: str, after: str, *, write: bool) -> str:
    if before == after:
        return f"\nThe suite great_expectations/expectations/{name} has all of it: nothing is to be written."
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"expectations/{name} before", f"expectations/{name}", lineterm=""
    )
    done = "Written." if write else "Nothing was written: --write does that."
    return "\n".join(["", *lines, "", done])


def _as_json(
    dataset: str, batches: Sequence[BatchFacts], found: Sequence[Difference], unusable: Sequence[Proposal], *, written: bool
) -> str:
    def described(proposal: Proposal) -> dict[str, Any]:
        return {
            "says": proposal.words,
            "evidence": proposal.evidence,
            "tried": proposal.tried,
            "failed": proposal.failed,
            "failed_by": list(proposal.failed_by),
            "why_severity": proposal.why_severity,
            "expectation": expectation_of(proposal),
        }

    document = {
        "dataset": dataset,
        "batches": len(batches),
        "rows": sum(batch.rows for batch in batches),
        "proposals": [
            {
                **described(each.proposal),
                "relation": each.relation,
                "in_force": list(each.in_force),
                "contradicted_by": list(each.contradicted_by),
                "goes_into_the_file": each.written,
            }
            for each in found
        ],
        "not_proposed": [described(proposal) for proposal in unusable],
        "written": written,
    }
    return json_text.dumps(document, indent=1, ensure_ascii=False)
