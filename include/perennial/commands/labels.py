"""`perennial labels`: have rows labelled by people.

    $ perennial labels choose tasks.json --model frauds --count 200
    $ perennial labels import project-7.json --model frauds
    $ perennial labels report labels.html --model frauds

`choose` writes the rows that are worth a label as tasks for Label Studio (JSON) or a table program (CSV), with the model's answer.
`import` takes what people answered: each person's labels are kept, and one agreed label for each row lands in the model's label feed, like
any other rows. `report` says how far people agree, and which labels are doubtful: `choose --by doubtful` asks about those again.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from perennial.errors import UnknownName
from perennial.labelling.consensus import Rule
from perennial.settings import Settings
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    action: str,
    file: Path | None,
    dataset: str | None = None,
    model: str | None = None,
    *,
    by: str = "mixed",
    count: int = 200,
    random: float = 0.2,
    source: str | None = None,
    first: datetime | None = None,
    last: datetime | None = None,
    seed: int = 0,
    again: bool = False,
    person: str = "",
    people: int = 1,
    agreement: float = 0.0,
    within: float = 0.0,
    json: bool = False,
) -> int:
    """Do what the action says.

    Raises:
        UnknownName: something that the action needs is not named, or does not exist.
        BatchRefused: an export cannot be read or lacks something; nothing is taken in.
    """
    rule = Rule(people, agreement, within)
    if file is None and action != "report":
        raise UnknownName(f"Name the {'export' if action == 'import' else 'file to write'}: perennial labels {action} FILE.")
    if action == "import":
        from perennial.commands._labels_import import import_labels

        assert file is not None
        return import_labels(settings, store, file, dataset, model, person, rule)
    if model is None:
        raise UnknownName(f"Name the model: perennial labels {action}{f' {file}' if file else ''} --model NAME.")
    if action == "report":
        from perennial.commands._labels_report import report_labels

        return report_labels(store, file, model, rule, as_json=json)
    from perennial.commands._labels_choose import choose_rows

    assert file is not None
    return choose_rows(
        store, file, model,
        by=by, count=count, random_share=random, source=source, first=first, last=last, seed=seed, again=again,
    )  # fmt: skip
