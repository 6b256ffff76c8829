"""Sources that are asked by HTTP: services that give records or files."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from perennial.specs.base import Spec
from perennial.specs.sources import SourceSpec, without_secret


class Pagination(Spec):
    """How an HTTP service tells its pages apart."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    by: Literal["link", "next", "token", "page", "offset"] = Field(
        description="`link`: the header `Link` of an answer names the next page. `next`: a field of the answer has its address. `token`: a "
        "field of the answer has a word that is sent back. `page`: pages are numbered. `offset`: the number of records before it. "
        "Of the last two the end is a page without records."
    )
    field: str = Field(default="", description="`next`, `token`: path of the field in the answer, such as `paging.next`.")
    parameter: str = Field(
        default="", description="Parameter that is sent; `token`, `page` and `offset` are called so by themselves if it is empty."
    )
    first: int | None = Field(default=None, description="`page`: number of the first one, 1 if unset. `offset`: 0 if unset.")
    size: int | None = Field(
        default=None, ge=1, description="Records of a page that are asked for; what the server gives if unset. It may give fewer."
    )
    size_parameter: str = Field(default="limit", description="Parameter for `size`.")
    more: str = Field(
        default="", description="Path of a field of the answer that says whether there are more pages, if the service has one."
    )

    @model_validator(mode="after")
    def _fits(self) -> Pagination:
        if (self.by in ("next", "token")) != bool(self.field):
            raise ValueError("field names where the answer has what leads to the next page: by next and token need it, others have none")
        if self.first is not None and self.by not in ("page", "offset"):
            raise ValueError("first is the number of the first page or record: leave it out")
        return self


class HttpSource(SourceSpec):
    """Records that an HTTP service gives as JSON or JSON lines, page by page, or files that it gives whole."""

    url: str = Field(
        description="Address, whole or below the connection's host, such as `/v1/orders`. Passwords and keys are the connection's."
    )
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict, description="Parameters that every request has.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers that every request has, without secrets.")
    answers: Literal["auto", "json", "jsonl", "file"] = Field(
        default="auto",
        description="`json`, `jsonl`: records. `file`: each answer that has changed lands as the file that it is, such as a daily export "
        "in CSV. `auto`: as the answer says.",
    )
    records: str = Field(default="", description="Path of the array of records in a JSON answer, such as `data.items`; itself if empty.")
    pagination: Pagination | None = Field(default=None, description="How the next page is asked for. If unset, one answer has all.")
    cursor: str = Field(
        default="",
        description="Path of a field of the records that grows with every new or changed one: a number, or a text, which counts as a time "
        "if it is one. If empty, all is read each time, and lands if it was added or changed.",
    )
    cursor_parameter: str = Field(
        default="",
        description="Parameter that gets the largest value of the cursor that was read, such as `updated_since`. The service should give "
        "records of that value again: what was read lands only once.",
    )
    since: str = Field(default="", description="Value of that parameter at the first look; it is left out if empty.")
    piece_pages: int = Field(
        default=50, ge=1, description="Pages after which what was read is made safe: a stage that is killed goes on there."
    )
    most_pages: int = Field(default=100_000, ge=1, description="Pages of one look; more are refused, for they have no end.")
    answer_bytes: int = Field(default=256 << 20, ge=1, description="Most bytes of one answer, unpacked; a larger one is refused.")
    timeout: float = Field(default=30, gt=0, description="Seconds to wait for a connection, and for each part of an answer.")
    patience: float = Field(
        default=60,
        ge=0,
        description="Seconds of one look that are waited in place where the server asks for a pause; for longer ones the look ends, and is "
        "taken up when the server wants.",
    )
    raw_days: float = Field(
        default=7, ge=0, description="Days that answers are kept as they came, in a ZIP file for each piece, in the store; 0: not at all."
    )

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        return without_secret(url)

    @field_validator("headers")
    @classmethod
    def _have_no_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        if secret := [name for name in headers if name.lower() in ("authorization", "cookie", "proxy-authorization", "x-api-key")]:
            raise ValueError(f"{secret[0]} is a secret, and specs lie in a repository: name a connection instead (connection=...)")
        return headers

    @model_validator(mode="after")
    def _fits(self) -> HttpSource:
        if not self.connection and not self.url.startswith(("http://", "https://")):
            raise ValueError("say where the service is: a whole url (https://...), or a connection that has its host")
        if bool(self.cursor) != bool(self.cursor_parameter):
            raise ValueError("a cursor is a field of the records and a parameter of the requests: name both, or neither")
        if self.since and not self.cursor:
            raise ValueError("since is the first value of the cursor: name a cursor, or leave it out")
        if self.answers == "file" and (self.pagination or self.cursor or self.records):
            raise ValueError("a file lands as it is: records, pagination and cursor are for records")
        return self

    @property
    def place(self) -> str:
        """Address, parameters and cursor."""
        given = "&".join(f"{name}={value}" for name, value in sorted(self.parameters.items()))
        at = f"{self.connection}: {self.url}" if self.connection else self.url
        return f"{at}{f'?{given}' if given else ''}{f' by {self.cursor}' if self.cursor else ''}"

    @property
    def days_of_answers(self) -> float:
        """As `raw_days` says."""
        return self.raw_days


class PagesSource(HttpSource):
    """Pages of a web site, from which the function `parse` of the dataset's file takes the rows."""

    robots: bool = Field(default=True, description="Whether only those pages are read that the site's robots.txt allows.")
    pause: float = Field(default=1, ge=0, description="Seconds between two requests; robots.txt may ask for more.")
