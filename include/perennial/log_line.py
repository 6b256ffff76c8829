"""The form of a line that programs log where PERENNIAL_LOG_FORMAT is `json`: for whoever reads them, and for the documentation.

>>> line = '{"schema": 1, "time": "2026-03-01T12:00:00.000000Z", "level": "INFO", "logger": "x", "message": "Go.", "try": 2}'
>>> LogLine.model_validate_json(line).tries
2
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LogLine(BaseModel):
    """One line of JSON. A field that is not known is not there."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version_of_form: Literal[1] = Field(
        alias="schema", description="Version of this form. Further fields do not change it; a field that goes or changes its meaning does."
    )
    time: str = Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", description="When it was written, UTC, ISO 8601 with microseconds."
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(description="How much it matters.")
    logger: str = Field(description="The part of the program that wrote it.")
    message: str = Field(description="What happened, for a person.")
    program: str | None = Field(
        default=None, description="Which program: `perennial train`, `perennial watch`, `server`, `metrics`, `mlflow`, `gateway`."
    )
    exception: str | None = Field(default=None, description="The traceback, its lines parted by `\\n`.")
    outcome: Literal["done", "skipped", "refused", "fault"] | None = Field(
        default=None, description="How the stage ended; in the last line of a stage alone, whose message is its sentence."
    )
    model: str | None = Field(default=None, description="The model that it is about.")
    dataset: str | None = Field(default=None, description="The dataset that it is about.")
    stage: str | None = Field(default=None, description="The stage that runs.")
    version: int | None = Field(default=None, description="Number of the version of the model.")
    dag: str | None = Field(default=None, description="Airflow's DAG.")
    run: str | None = Field(
        default=None, description="Airflow's run: the same in the lines of task and stage, and of a server that a release asks."
    )
    task: str | None = Field(default=None, description="Airflow's task.")
    tries: int | None = Field(default=None, alias="try", ge=0, description="Which try of the task it is, from 1 on.")
    prediction: str | None = Field(
        default=None, description="Id of the request, as its answer, the prediction log and the outcomes have it."
    )
    status: int | None = Field(default=None, description="Status of the answer; in lines of the gateway on a request.")
    milliseconds: int | None = Field(default=None, description="How long the request took, ms; in lines of the gateway on a request.")
    trace_id: str | None = Field(default=None, pattern="^[0-9a-f]{32}$", description="Trace of OpenTelemetry that it belongs to.")
    span_id: str | None = Field(default=None, pattern="^[0-9a-f]{16}$", description="Span of OpenTelemetry that it belongs to.")
