"""The names of all assets. An event only triggers a DAG; its stages find out what there is to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset, AssetWatcher

from perennial.specs import DatasetSpec, ModelSpec
from perennial_airflow.triggers.landing import LandingTrigger
from perennial_airflow.triggers.service_news import ServiceNewsTrigger

SCHEME = "x-perennial"  # for any scheme that does not begin with x-, Airflow loads every provider to ask who knows it


def landing(dataset: DatasetSpec) -> Asset:
    """Files of a dataset wait in the landing zone."""
    return Asset(
        f"{dataset.name}_landing",
        uri=f"{SCHEME}://landing/{dataset.name}",
        watchers=[AssetWatcher(name=f"{dataset.name}_landing", trigger=LandingTrigger(dataset.name))],
    )


def service_news() -> Asset:
    """The watch over the versions that serve has opened or ended an incident."""
    return Asset("service_news", uri=f"{SCHEME}://service_news", watchers=[AssetWatcher(name="service_news", trigger=ServiceNewsTrigger())])


def snapshot(dataset: str) -> Asset:
    """A dataset's table has a new snapshot."""
    return Asset(f"{dataset}_snapshot", uri=f"{SCHEME}://snapshot/{dataset}")


def scores(model: str) -> Asset:
    """A model has given new scores in a batch, which are rows of a dataset."""
    return Asset(f"{model}_scores", uri=f"{SCHEME}://scores/{model}")


def retraining(model: ModelSpec) -> Asset:
    """Monitoring has requested retraining."""
    return Asset(f"{model.name}_retraining", uri=f"{SCHEME}://retraining/{model.name}")


def candidate(model: ModelSpec) -> Asset:
    """A candidate has been registered."""
    return Asset(f"{model.name}_candidate", uri=f"{SCHEME}://candidate/{model.name}")


def incident(model: ModelSpec) -> Asset:
    """An incident of a model opened; the event's partition is the incident's id, so that each starts a run of its own."""
    return Asset(f"{model.name}_incident", uri=f"{SCHEME}://incident/{model.name}")


def snapshot_advanced(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Event of an ingestion: none if nothing was appended."""
    # A duplicate may be what a killed try appended and could not announce.
    return {"snapshot": result["snapshot"], "cause": "data"} if result["appended"] or result["duplicates"] else None


def scores_written(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Event of a scoring: none if no row was scored."""
    return {"version": result["version"], "rows": result["rows"]} if result["rows"] else None


def release_left_open(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Event of a release that went on after a person's word and came to another question: the next run asks it."""
    return {"version": result["version"], "sentence": result["sentence"]} if result["action"] == "ask" else None


def candidate_registered(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Event of a registration: none if there is no new version; the sentence is what a person is shown who must approve it."""
    return {"version": result["version"], "sentence": result["sentence"]} if result["version"] else None
