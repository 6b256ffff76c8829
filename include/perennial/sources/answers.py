"""What answers of an HTTP service mean: records, the next page, values of a cursor. Pure functions.

>>> document = decoded(b'{"data": {"items": [{"id": 1}]}, "next": "/v1/orders?after=1"}', "")
>>> records_in(document, "data.items")
[{'id': 1}]
>>> following(Pagination(by="next", field="next"), Request("https://shop.example/v1/orders"), document, {}, records=1)
Request(address='https://shop.example/v1/orders?after=1', parameters={})
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath
from types import NoneType
from typing import Any, Literal
from urllib.parse import unquote, urljoin, urlsplit

from requests.utils import parse_header_links

from perennial.specs import Pagination

Form = Literal["json", "jsonl", "file"]
_DIGITS = 1000  # of a whole number that is written as a text
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines")
_FILES = {
    "text/csv": ".csv",
    "application/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/zip": ".zip",
}
_EXTENSIONS = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}  # what answers of these names hold, if their type does not say
_PLAIN = ("", "text/plain", "application/octet-stream", "binary/octet-stream", "application/gzip", "application/x-gzip")


class Unclear(ValueError):
    """An answer is not what it should be; the words say why."""


class CutShort(Unclear):
    """An answer ends in the middle."""


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    address: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def form_of(declared: str, headers: Mapping[str, str], address: str) -> Form:
    """What an answer holds: as the source declares, else by its type, else by its name. Raises Unclear if neither says it."""
    if declared != "auto":
        return declared  # type: ignore[return-value]
    kind = _type(headers)
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    if kind in _LINES:
        return "jsonl"
    if kind in _FILES:
        return "file"
    if kind in _PLAIN and (suffix := _suffix(headers, address)):
        return _EXTENSIONS.get(suffix, "file")  # type: ignore[return-value]
    raise Unclear(
        f"is of the type {kind or 'that no header names'}, which is neither JSON nor a file of rows: say answers=... in the source"
    )


def file_name(headers: Mapping[str, str], address: str) -> str:
    """What a file that lands as it is is called: its own name, with an ending that says what it is.

    >>> file_name({"content-type": "text/csv; charset=utf-8"}, "https://shop.example/exports/orders?day=1")
    'orders.csv'
    """
    name = _own_name(headers, address)
    suffix = _suffix(headers, address)
    stem = name.removesuffix(suffix)
    if not suffix:
        suffix = _FILES.get(_type(headers)) or {"application/json": ".json", "text/html": ".html"}.get(_type(headers)) or ".csv"
    plain = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in stem).strip("_")
    return f"{plain or 'file'}{suffix}"


def decoded(body: bytes, charset: str) -> Any:
    """A JSON document.

    Args:
        body: as it came, unpacked.
        charset: that its type names; UTF-8, or the UTF-16 or UTF-32 that it begins like, if empty.

    Raises:
        CutShort: it ends in the middle.
        Unclear: it is none.
    """
    text = _text(body, charset or json.detect_encoding(body))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise CutShort("ends in the middle") from None
        raise Unclear(f"is no JSON ({error.msg} at line {error.lineno}, sign {error.colno})") from None
    except RecursionError:
        raise Unclear("is no JSON that can be read (it is nested too deeply)") from None


def lines_in(body: bytes, charset: str) -> list[Any]:
    """The records of JSON lines; a line that is no JSON is a text among them. Raises Unclear where the whole is no text."""
    records: list[Any] = []
    for line in _text(body, charset or "utf-8").split("\n"):
        if line.strip():
            try:
                records.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError):
                records.append(line)
    return records


def charset_of(headers: Mapping[str, str]) -> str:
    """The encoding that the type of an answer names; empty if none. Raises Unclear if nobody knows it."""
    for part in headers.get("content-type", "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            try:
                return codecs.lookup(value.strip()).name  # quotes do not matter to it
            except LookupError:
                raise Unclear(f"is in the encoding {value.strip()}, which nobody knows") from None
    return ""


def at(document: Any, path: str) -> Any:
    """What is at a path of a document, such as `paging.next`; None if there is nothing.

    >>> at({"paging": {"next": 7}}, "paging.next"), at({"a.b": 1}, "a.b"), at([], "a")
    (7, 1, None)
    """
    if isinstance(document, Mapping) and path in document:
        return document[path]
    for step in path.split("."):
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def records_in(document: Any, path: str) -> list[Any]:
    """The records of a document.

    Args:
        document: of an answer.
        path: of the array of records; if empty the document is the array, or the only record.

    Raises:
        Unclear: there is no array; the words say where there is one.
    """
    found = at(document, path) if path else document
    if isinstance(found, list):
        return found
    places = _arrays(document)
    if not path and isinstance(document, Mapping) and not places:
        return [document]
    there = (
        f"but at {', '.join(places[:3])}: write records={places[0]!r} into the source" if places else "nor elsewhere: correct the source"
    )
    raise Unclear(f"has no array of records {f'at {path}' if path else 'of its own'}, {there}")


def first(pagination: Pagination | None, request: Request) -> Request:
    """The request for the first page."""
    if pagination is None:
        return request
    given = dict(request.parameters)
    if pagination.size is not None:
        given[pagination.size_parameter] = pagination.size
    if pagination.by in ("page", "offset"):
        given[pagination.parameter or pagination.by] = _begin(pagination)
    return Request(request.address, given)


def following(pagination: Pagination | None, request: Request, document: Any, headers: Mapping[str, str], records: int) -> Request | None:
    """The request for the page after an answer.

    Args:
        pagination: how pages are told apart.
        request: that was answered.
        document: of the answer.
        headers: of the answer.
        records: how many it has.

    Returns:
        None if it was the last one.

    Raises:
        Unclear: what should lead to the next page is neither text nor number.
    """
    if pagination is None or (pagination.more and not at(document, pagination.more)):
        return None
    if pagination.by == "link":
        links = parse_header_links(headers.get("link", ""))
        urls = [link["url"] for link in links if "next" in link.get("rel", "").split()]
        return Request(urljoin(request.address, urls[0])) if urls else None
    name = pagination.parameter or pagination.by
    word: Any = None
    if pagination.by in ("next", "token"):
        word = at(document, pagination.field)
        if word is True or not isinstance(word, (str, int, float, NoneType)):
            raise Unclear(f"has at {pagination.field} neither a text nor a number that leads to the next page")
        word = None if word is False else word
    elif records:
        step = records if pagination.by == "offset" else 1  # a server may give fewer records than it is asked for
        word = int(request.parameters[name]) + step
    if word in (None, ""):
        return None
    if pagination.by == "next":
        return Request(urljoin(request.address, str(word)))
    return Request(request.address, {**request.parameters, name: word})


def ordered(value: Any) -> Any:
    """A value of a cursor in the form in which it is compared: a number, a moment or a text. Raises Unclear for any other.

    >>> ordered("2026-03-01T09:00:00+01:00"), ordered("42"), ordered("b7")
    (datetime.datetime(2026, 3, 1, 8, 0, tzinfo=datetime.timezone.utc), 42, 'b7')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Unclear(f"{type(value).__name__}, which is neither a number nor a text")
    if not isinstance(value, str):
        return value
    if value.isascii() and value.isdigit():
        if len(value) > _DIGITS:
            raise Unclear(f"a number of {len(value)} digits")
        return int(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    try:
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment
    except OverflowError:
        raise Unclear(f"{value}, a time that no calendar has in UTC") from None


def _begin(pagination: Pagination) -> int:
    return pagination.first if pagination.first is not None else int(pagination.by == "page")


def _text(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise Unclear(f"is no text in the encoding {charset}") from None


def _type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _own_name(headers: Mapping[str, str], address: str) -> str:
    for part in headers.get("content-disposition", "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "filename":
            return PurePosixPath(value.strip().strip('"').replace("\\", "/")).name
    return PurePosixPath(unquote(urlsplit(address).path)).name


def _suffix(headers: Mapping[str, str], address: str) -> str:
    """The ending of a file's own name, with that of its packing: `.csv.gz`."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(_own_name(headers, address)).suffixes]
    packed = suffixes[-1:] if suffixes and suffixes[-1] in (".gz", ".bz2", ".xz", ".zst") else []
    before = suffixes[: len(suffixes) - len(packed)][-1:]
    return "".join(before + packed)


def _arrays(document: Any, above: str = "") -> list[str]:
    """Paths of the arrays of objects in a document, outside of such arrays."""
    if isinstance(document, list):
        return [above] if above and document and all(isinstance(row, dict) for row in document) else []
    if isinstance(document, dict):
        return [path for name, value in document.items() for path in _arrays(value, f"{above}.{name}" if above else name)]
    return []
