"""What answers of HTTP services mean: forms, records, next pages and values of cursors."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.sources.answers import (
    CutShort,
    Request,
    Unclear,
    at,
    charset_of,
    decoded,
    file_name,
    first,
    following,
    form_of,
    lines_in,
    ordered,
    records_in,
)
from perennial.specs import HttpSource, Pagination

URL = "https://shop.example/v1/orders"


@pytest.mark.parametrize(
    ("kind", "address", "form"),
    [
        ("application/json; charset=utf-8", URL, "json"), ("APPLICATION/JSON", URL, "json"), ("application/vnd.api+json", URL, "json"),
        *((kind, URL, "jsonl") for kind in (
            "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines",
        )),
        *((kind, URL, "file") for kind in (
            "text/csv", "application/csv", "text/tab-separated-values", "application/zip", "application/vnd.apache.parquet",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "application/vnd.oasis.opendocument.spreadsheet",
        )),
        *((kind, f"{URL}.jsonl", "jsonl") for kind in (
            "", "text/plain", "application/octet-stream", "binary/octet-stream", "application/gzip", "application/x-gzip",
        )), ("text/plain", f"{URL}.json", "json"), ("application/octet-stream", f"{URL}.ndjson", "jsonl"),
        ("text/plain", f"{URL}.txt", "file"), ("", f"{URL}.csv.gz?day=1", "file"),
    ],
)  # fmt: skip
def test_the_form_of_an_answer(kind: str, address: str, form: str) -> None:
    """DM-01: As its type says, else as its name does."""
    assert form_of("auto", {"content-type": kind}, address) == form
    assert form_of("jsonl", {"content-type": kind}, address) == "jsonl"


@pytest.mark.parametrize(
    ("kind", "address", "said"),
    [("text/html", f"{URL}.csv", "text/html"), ("text/plain", URL, "text/plain"), ("", URL, "that no header names")],
)
def test_an_answer_of_no_form(kind: str, address: str, said: str) -> None:
    """DM-01: A page for people is no file of rows, whatever it is called."""
    with pytest.raises(Unclear, match=f"is of the type {said}, which is neither JSON nor a file of rows: say answers="):
        form_of("auto", {"content-type": kind} if kind else {}, address)


@pytest.mark.parametrize(
    ("headers", "address", "name"),
    [
        ({"content-type": "text/csv"}, f"{URL}.csv", "orders.csv"),
        *(({"content-type": kind}, f"{URL}/", f"orders{ending}") for kind, ending in (
            ("application/zip", ".zip"), ("application/csv", ".csv"), ("text/tab-separated-values", ".tsv"),
            ("application/vnd.apache.parquet", ".parquet"), ("application/vnd.oasis.opendocument.spreadsheet", ".ods"),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"), ("text/html", ".html"),
        )),
        *(({}, f"{URL}.csv{packing}", f"orders.csv{packing}") for packing in (".gz", ".bz2", ".xz", ".zst")),
        ({}, f"{URL}.old.csv.gz", "orders_old.csv.gz"),
        ({}, "https://shop.example/_XX_", "XX.csv"),
        ({"content-disposition": "attachment; size=1=2; filename=a=b.csv"}, URL, "a_b.csv"),
        ({"content-disposition": 'attachment; filename="C:\\days\\XX.csv"'}, URL, "XX.csv"),
        ({"content-type": "application/gzip"}, f"{URL}.csv.gz", "orders.csv.gz"),
        ({"content-type": "application/json"}, "https://shop.example/", "file.json"),
        ({}, "https://shop.example/a%20b", "a_b.csv"),
        ({"content-disposition": 'attachment; filename="day 1.v2.CSV"'}, URL, "day_1_v2_CSV.csv"),
        ({"content-disposition": 'attachment; filename="../../x.parquet"'}, URL, "x.parquet"),
        ({"content-disposition": 'attachment; filename="X.csv"'}, URL, "X.csv"),
        ({"content-disposition": "inline"}, f"{URL}.tsv", "orders.tsv"),
    ],
)  # fmt: skip
def test_what_a_file_is_called(headers: dict[str, str], address: str, name: str) -> None:
    """DM-01: Its own name without what a name may not have, and an ending by which it is read."""
    assert file_name(headers, address) == name


def test_json_in_whatever_encoding() -> None:
    """DM-01: By its type's word, or by how it begins; a document that is cut is told apart from one that is none."""
    assert decoded('{"a": "ü"}'.encode("latin-1"), "latin-1") == {"a": "ü"}
    assert decoded('{"a": "ü"}'.encode("utf-16"), "") == decoded('\ufeff{"a": "ü"}'.encode(), "") == {"a": "ü"}
    for cut in (b'{"a": [1, 2', b'{"a": "x', b'{"a":', b"", b"  "):
        with pytest.raises(CutShort, match="ends in the middle"):
            decoded(cut, "")
    with pytest.raises(Unclear, match=r"is no JSON \(.* at line 2, sign 3\)") as told:
        decoded(b'{"a":\n1 x}', "")
    assert not isinstance(told.value, CutShort)
    with pytest.raises(Unclear, match="nested too deeply"):
        decoded(b"[" * 100_000, "")
    with pytest.raises(Unclear, match="is no text in the encoding ascii"):
        decoded('{"a": "ü"}'.encode(), "ascii")


def test_json_lines() -> None:
    """DM-01: A line that is none is a text among the records; only line feeds end one; a mark of the byte order is none of it."""
    assert lines_in('\ufeff{"a": 1}\n"x\ufeff'.encode(), "") == [{"a": 1}, '"x\ufeff']
    assert Request(URL).parameters == {}
    assert lines_in('{"a": "x\u2028y"}\r\n\n{broken\n 2\n'.encode(), "") == [{"a": "x\u2028y"}, "{broken", 2]
    assert lines_in('{"a": "ü"}'.encode("latin-1"), "latin-1") == [{"a": "ü"}]


def test_the_encoding_that_a_type_names() -> None:
    """DM-01: Quoted or not; one that nobody knows is told."""
    assert charset_of({"content-type": 'application/json; q=1; Charset="ISO-8859-1"'}) == "iso8859-1"
    assert charset_of({"content-type": "a/b; charset='latin-1'; x=y=z"}) == "iso8859-1"
    assert charset_of({"content-type": "application/json"}) == charset_of({}) == ""
    with pytest.raises(Unclear, match="is in the encoding a=b, which nobody knows"):
        charset_of({"content-type": "a/b; charset=a=b"})
    with pytest.raises(Unclear, match="is in the encoding klingon, which nobody knows"):
        charset_of({"content-type": "a/b; charset=klingon"})


def test_where_records_are() -> None:
    """DM-01: At their path; else the document is them, or the only one; else the sentence says where they are."""
    document = {"data": {"items": [{"id": 1}], "none": []}, "a.b": [3]}
    assert records_in(document, "data.items") == [{"id": 1}]
    assert (records_in(document, "a.b"), records_in(document, "data.none"), records_in([1], "")) == ([3], [], [1])
    assert records_in({"id": 1, "tags": ["x"], "none": []}, "") == [{"id": 1, "tags": ["x"], "none": []}]
    assert (at({"a": None}, "a.b"), at({"a": [1]}, "a.b"), at({}, "a")) == (None, None, None)
    for path, why in (
        ("", "has no array of records of its own, but at data.items: write records='data.items' into the source"),
        ("data", "has no array of records at data, but at data.items: write"),
    ):
        with pytest.raises(Unclear, match=why):
            records_in(document, path)
    many = {name: [{"id": 1}] for name in "abcd"}
    with pytest.raises(Unclear, match="at items, but at a, b, c: write records='a'"):
        records_in(many, "items")
    for nothing in (7, None, "x", {"items": 3}):
        with pytest.raises(Unclear, match="at items, nor elsewhere: correct the source"):
            records_in(nothing, "items")


def _after(by: str, document: Any = None, headers: dict[str, str] | None = None, records: int = 3, **more: Any) -> Request | None:
    pagination = Pagination(by=by, **({"field": "next"} if by in ("next", "token") else {}), **more)  # type: ignore[arg-type]
    request = first(pagination, Request(URL, {"status": "paid"}))
    return following(pagination, request, document, headers or {}, records)


def test_the_first_page() -> None:
    """DM-01: Numbers begin at 1, offsets at 0, or as the spec says; a size is asked for by its own name."""
    plain = Request(URL, {"status": "paid"})
    assert first(None, plain) == first(Pagination(by="link"), plain) == first(Pagination(by="token", field="next"), plain) == plain
    assert first(Pagination(by="page", size=50), plain).parameters == {"status": "paid", "limit": 50, "page": 1}
    assert first(Pagination(by="page", first=0, parameter="p", size=5, size_parameter="n"), plain).parameters == {
        "status": "paid",
        "n": 5,
        "p": 0,
    }
    assert first(Pagination(by="offset"), plain).parameters == {"status": "paid", "offset": 0}
    assert first(Pagination(by="offset", first=1), plain).parameters["offset"] == 1


def test_the_next_page() -> None:
    """DM-01: By each manner; an offset grows by the records that came, whatever was asked for."""
    assert following(None, Request(URL), {}, {}, 3) is None
    links = {"link": '<https://shop.example/v1/orders?p=2&x=1>; rel="prefetch next", </>; rel="first"'}
    assert _after("link", headers=links) == Request(f"{URL}?p=2&x=1")
    assert _after("link", headers={"link": '<?p=2>; rel="next"'}) == Request(f"{URL}?p=2")
    assert _after("link", headers={"link": '</>; title="x", <?p=3>; rel="next", <?p=4>; rel="next"'}) == Request(f"{URL}?p=3")
    assert _after("link", headers={"link": '</>; rel="first"'}) is _after("link") is None
    assert _after("next", {"next": "/v1/orders?p=2"}) == Request(f"{URL}?p=2")
    assert _after("token", {"next": 7}) == Request(URL, {"status": "paid", "token": 7})
    assert _after("token", {"next": "ab"}, parameter="after") == Request(URL, {"status": "paid", "after": "ab"})
    for nothing in ({}, {"next": None}, {"next": ""}, {"next": False}):
        assert _after("next", nothing) is _after("token", nothing) is None
    for wrong in ({"next": True}, {"next": [1]}, {"next": {}}):
        with pytest.raises(Unclear, match="has at next neither a text nor a number that leads to the next page"):
            _after("token", wrong)
    assert _after("page") == Request(URL, {"status": "paid", "page": 2})
    assert _after("page", parameter="p", first=0) == Request(URL, {"status": "paid", "p": 1})
    assert _after("offset", size=500) == Request(URL, {"status": "paid", "limit": 500, "offset": 3})
    assert _after("offset", records=0) is _after("page", records=0) is None
    assert _after("token", {"next": "x"}, records=0) == Request(URL, {"status": "paid", "token": "x"})
    assert _after("page", {"more": False}, more="more") is _after("page", {}, more="more") is None
    assert _after("page", {"more": True}, more="more") == Request(URL, {"status": "paid", "page": 2})


def test_values_of_a_cursor_have_an_order() -> None:
    """DM-01: Times are compared as moments, digits as numbers; nothing else has an order that a service would share."""
    assert ordered("2026-03-01T09:00:00+01:00") == ordered("2026-03-01T08:00:00Z") == datetime(2026, 3, 1, 8, tzinfo=timezone.utc)
    assert ordered("2026-03-01 08:00") == datetime(2026, 3, 1, 8)
    assert (ordered("10") > ordered("9"), ordered(3), ordered(1.5), ordered("b"), ordered("²")) == (True, 3, 1.5, "b", "²")
    assert ordered("9" * 1000) > 0
    for wrong in ("9" * 1001, "0001-01-01T00:00:00+14:00"):
        with pytest.raises(Unclear, match=r"a number of 1001 digits|a time that no calendar has in UTC"):
            ordered(wrong)
    for wrong, kind in ((True, "bool"), (None, "NoneType"), ([1], "list"), ({}, "dict")):
        with pytest.raises(Unclear, match=f"^{kind}, which is neither a number nor a text"):
            ordered(wrong)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "/v1"}, "a whole url .* or a connection that has its host"),
        ({"url": "https://a:b@h/"}, "the address holds a password"),
        ({"url": URL, "headers": {"X-Api-Key": "x"}}, "X-Api-Key is a secret"),
        ({"url": URL, "cursor": "x"}, "name both, or neither"),
        ({"url": URL, "cursor_parameter": "x"}, "name both, or neither"),
        ({"url": URL, "since": "x"}, "name a cursor, or leave it out"),
        ({"url": URL, "answers": "file", "records": "x"}, "a file lands as it is"),
        ({"url": URL, "answers": "file", "pagination": {"by": "link"}}, "a file lands as it is"),
        ({"url": URL, "pagination": {"by": "next"}}, "by next and token need it, others have none"),
        ({"url": URL, "pagination": {"by": "page", "field": "x"}}, "by next and token need it, others have none"),
        ({"url": URL, "pagination": {"by": "link", "first": 1}}, "leave it out"),
    ],
)
def test_specs_that_do_not_fit(given: dict[str, Any], why: str) -> None:
    """DM-01, SC-05: A secret in a spec, and settings that contradict each other."""
    with pytest.raises(ValidationError, match=why):
        HttpSource(**given)


def test_another_question_is_another_source() -> None:
    """DM-01: Address, parameters and cursor are what is read; the manner of pages is not."""
    source = HttpSource(url=URL, parameters={"b": 1, "a": "x"}, cursor="at", cursor_parameter="since")
    assert source.place == f"{URL}?a=x&b=1 by at"
    assert source.model_copy(update={"pagination": Pagination(by="page")}).place == source.place
    assert HttpSource(connection="shop", url="/v1/orders").place == "shop: /v1/orders"
