"""`perennial labels`: have rows labelled by people.

    $ perennial labels import project-7.json --model frauds

`import` takes what people answered in a labelling tool: each person's labels are kept, and one agreed label for each row lands in the
model's label feed, like any other rows.
"""

from __future__ import annotations

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
    person: str = "",
    people: int = 1,
    agreement: float = 0.0,
    within: float = 0.0,
) -> int:
    """Do what the action says.

    Raises:
        UnknownName: something that the action needs is not named, or does not exist.
        BatchRefused: an export cannot be read or lacks something; nothing is taken in.
    """
    from perennial.commands._labels_import import import_labels

    if file is None:
        raise UnknownName(f"Name the export: perennial labels {action} FILE.")
    return import_labels(settings, store, file, dataset, model, person, Rule(people, agreement, within))
