"""`perennial served-at`: show which versions served at a time, at what weight and why, or which one answered a prediction.

$ perennial served-at --model flight_delays 2013-07-04T12:00:00
$ perennial served-at --model flight_delays --prediction 6f1a-0
"""

from __future__ import annotations

from datetime import datetime, timezone

from perennial import discovery
from perennial.errors import EXIT_DONE, EXIT_FAULT
from perennial.lineage.ledger import Ledger, known_models
from perennial.served_tables import SCORED, predictions_name
from perennial.settings import Settings
from perennial.store import Store
from perennial.views.ledger import ID, Answer, answer_words, describe, is_row_of, recent_answers

__all__ = ["describe", "run"]


def run(settings: Settings, store: Store, *, time: datetime | None = None, model: str | None = None, prediction: str | None = None) -> int:
    """Print one paragraph for each model; the exit code is 1 if no version answered the prediction.

    Raises:
        UnknownName: there is no such model.
        StoredDataDamaged: a ledger cannot be read.
    """
    del settings
    names = discovery.models_asked_about(model, known_models(store))
    if prediction is None:
        time = time or datetime.now(timezone.utc)
        for name in names:
            print(describe(name, time, Ledger(store, name).served_at(time)))
        return EXIT_DONE
    answered = {name: answers for name in names if (answers := _answers(store, name, prediction))}
    for name, answers in answered.items():
        print(answer_words(name, prediction, answers))
    if not answered:
        print(f"No version of {' or '.join(names)} answered a prediction of the id {prediction}, as far as the log and the table tell.")
    return EXIT_DONE if answered else EXIT_FAULT


def _answers(store: Store, model: str, id: str) -> tuple[Answer, ...]:
    """From the log of the servers, or else from the table of predictions, of which the column of ids is read whole."""
    if not ID.fullmatch(id):
        return ()
    if recent := recent_answers(store, model, id):
        return recent
    import pyarrow.compute as pc

    from perennial.data.merging import BATCH
    from perennial.data.tables import Table

    table = Table(store, predictions_name(model))
    if table.version() is None:
        return ()
    columns = ["prediction_id", "model_version", "served_at", "shadow", BATCH]
    rows = table.scan(columns, pc.starts_with(pc.field("prediction_id"), id)).to_pylist()
    answers = [
        Answer(
            id=row["prediction_id"],
            version=row["model_version"],
            time=row["served_at"],
            shadow=bool(row["shadow"]),
            batch=row[BATCH].removeprefix(SCORED) if (row[BATCH] or "").startswith(SCORED) else "",
        )
        for row in rows
        if is_row_of(row["prediction_id"], id)
    ]
    return tuple(sorted(answers, key=lambda answer: (answer.time, answer.id)))
