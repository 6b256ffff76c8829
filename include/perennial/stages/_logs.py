"""Takes what a model's servers logged into its tables of predictions and outcomes."""

from __future__ import annotations

from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.monitoring.outcomes import collect_outcomes
from perennial.monitoring.prediction_table import Collected, collect_predictions
from perennial.served_tables import outcomes_name, predictions_name
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages._versions import RECENT, as_logged
from perennial.store import Store


def take_in(store: Store, spec: ModelSpec, dataset: DatasetSpec) -> tuple[Collected, Collected]:
    """Take the finished segments of the logs into the tables; counts of the predictions and of the outcomes that came in.

    Predictions come first: an outcome that a caller could send after its answer then seldom waits for its prediction.
    """
    logged = as_logged(store, spec, dataset, Ledger(store, spec.name).newest(RECENT))
    predictions = collect_predictions(store, logged, dataset, Table(store, predictions_name(spec.name)))
    return predictions, collect_outcomes(store, spec, Table(store, outcomes_name(spec.name)))
