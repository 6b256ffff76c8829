"""Specs of datasets and models: frozen objects that check themselves. Light: DAG files import this.

>>> from perennial.specs import Column, DatasetSpec
>>> spec = DatasetSpec(
...     name="rides",
...     title="Rides",
...     owner="fleet",
...     columns=[Column(name="ride", type="string"), Column(name="start", type="timestamp"), Column(name="km", type="float")],
...     key=["ride"],
...     event_time="start",
... )
>>> spec.column("km").nullable
False
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from perennial.specs.alerts import TEMPLATE_FIELDS, AlertSpec
from perennial.specs.anomaly import AnomalySpec
from perennial.specs.base import CRON_FIELDS, CRON_PART, NAME, CronLine, Spec, cron, cron_times
from perennial.specs.budget import BudgetSpec, BudgetStage, TrainingBudget
from perennial.specs.columns import IMAGE_AXES, MOST_PLACES, NO_SCALARS, Column, ColumnType, ElementType
from perennial.specs.compute import ComputeSpec, Toleration
from perennial.specs.datasets import LANDED, ROW, DatasetSpec, GroupSpec, OnKnownKey, Rows
from perennial.specs.deadlines import WEEKDAYS, DeadlineSpec
from perennial.specs.files import FALSE, TRUE, UNFINISHED, FileForm
from perennial.specs.freezes import FreezeSpec
from perennial.specs.joins import JoinSpec, brought_by
from perennial.specs.limits import Limited, LimitSpec, RequirementSpec
from perennial.specs.models import CALENDAR_SLICES, LabelSpec, Learner, ModelSpec, stand_in
from perennial.specs.monitoring import (
    INCIDENT_KINDS,
    VERDICTS,
    AnomalyDetector,
    Cause,
    DriftKind,
    EffectLimits,
    IncidentKind,
    MonitoringSpec,
    RetrainSpec,
    Verdict,
)
from perennial.specs.named import Named
from perennial.specs.release import ReleaseSpec, ServingSpec
from perennial.specs.rules import AnswerRule
from perennial.specs.scoring import ScoringSpec
from perennial.specs.signals import SignalSpec
from perennial.specs.sources import DeltaSource, FilesSource, FunctionSource, IcebergSource, SourceSpec, SqlSource
from perennial.specs.training import CLASSIFIER_METRICS, HIGHER_IS_BETTER, METRICS, GateSpec, SplitSpec, TrainingSpec

if TYPE_CHECKING:
    from perennial.specs.streams import KafkaSource, MqttSource
    from perennial.specs.web import HttpSource, PagesSource, Pagination

# Kinds of sources that a DAG file loads only if it has one: each parse pays for what it loads.
_AT_FIRST_USE = {"HttpSource": "web", "KafkaSource": "streams", "MqttSource": "streams", "PagesSource": "web", "Pagination": "web"}

__all__ = [
    "CALENDAR_SLICES",
    "CLASSIFIER_METRICS",
    "CRON_FIELDS",
    "CRON_PART",
    "FALSE",
    "HIGHER_IS_BETTER",
    "IMAGE_AXES",
    "INCIDENT_KINDS",
    "LANDED",
    "METRICS",
    "MOST_PLACES",
    "NAME",
    "NO_SCALARS",
    "ROW",
    "TEMPLATE_FIELDS",
    "TRUE",
    "UNFINISHED",
    "VERDICTS",
    "WEEKDAYS",
    "AlertSpec",
    "AnomalyDetector",
    "AnomalySpec",
    "AnswerRule",
    "BudgetSpec",
    "BudgetStage",
    "Cause",
    "Column",
    "ColumnType",
    "ComputeSpec",
    "CronLine",
    "DatasetSpec",
    "DeadlineSpec",
    "DeltaSource",
    "DriftKind",
    "EffectLimits",
    "ElementType",
    "FileForm",
    "FilesSource",
    "FreezeSpec",
    "FunctionSource",
    "GateSpec",
    "GroupSpec",
    "HttpSource",
    "IcebergSource",
    "IncidentKind",
    "JoinSpec",
    "KafkaSource",
    "LabelSpec",
    "Learner",
    "LimitSpec",
    "Limited",
    "ModelSpec",
    "MonitoringSpec",
    "MqttSource",
    "Named",
    "OnKnownKey",
    "PagesSource",
    "Pagination",
    "ReleaseSpec",
    "RequirementSpec",
    "RetrainSpec",
    "Rows",
    "ScoringSpec",
    "ServingSpec",
    "SignalSpec",
    "SourceSpec",
    "Spec",
    "SplitSpec",
    "SqlSource",
    "Toleration",
    "TrainingBudget",
    "TrainingSpec",
    "Verdict",
    "brought_by",
    "cron",
    "cron_times",
    "stand_in",
]


def __getattr__(name: str) -> Any:
    """A name whose module is loaded when it is first asked for."""
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_AT_FIRST_USE[name]}"), name)
