"""HTTP services read into a table: exactly the records of the server, each once, whatever the server, the network or a kill does."""

from __future__ import annotations

import gzip
import json
import ssl
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources import web
from perennial.specs import Column, DatasetSpec, FileForm, HttpSource, Pagination
from perennial.testing.collecting import Collecting
from perennial.testing.service import Asked, Reply, Service

COLUMNS = (
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="amount", type="float"),
    Column(name="city", type="string", nullable=True),
)  # fmt: skip
PAGE = 10


@pytest.fixture
def service() -> Iterator[Service]:
    """A service on loopback."""
    with Service() as service:
        yield service


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits in place take no time; what they would take is told."""
    waits: list[float] = []
    monkeypatch.setattr(web, "time", type("Clock", (), {"sleep": staticmethod(waits.append), "monotonic": staticmethod(time.monotonic)}))
    return waits


def _record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "at": "2026-03-01T08:00:00", "amount": number + 0.25, "city": "Rome", "changed": number, **more}


class Orders:
    """Orders that a service gives: those from `since` on, in whatever order, in pages by the means of the test."""

    def __init__(self, service: Service, count: int, by: str = "page") -> None:
        self.service, self.by = service, by
        self.records = [_record(number) for number in range(1, count + 1)]
        service.answers["/v1/orders"] = self.page

    def page(self, asked: Asked) -> Reply:
        given = asked.parameters
        since = float(given.get("since", "-inf"))
        records = [record for record in self.records if record["changed"] >= since]
        begin = {
            "page": lambda: (int(given.get("page", 1)) - 1) * PAGE, "offset": lambda: int(given.get("offset", 0)),
            "link": lambda: int(given.get("from", 0)), "next": lambda: int(given.get("from", 0)),
            "token": lambda: int(given.get("token", 0)),
        }[self.by]()  # fmt: skip
        items, after = records[begin : begin + PAGE], begin + PAGE
        more = after < len(records)
        keep = f"&since={given['since']}" if "since" in given else ""
        body: dict[str, Any] = {"data": {"items": items}, "more": more}
        headers = {}
        if more and self.by == "link":
            headers["Link"] = f'<{self.service.url}/v1/orders?from={after}{keep}>; rel="next", </v1/orders>; rel="first"'
        if more and self.by == "next":
            body["next"] = f"/v1/orders?from={after}{keep}"
        if more and self.by == "token":
            body["next"] = str(after)
        return Reply(body, headers=headers)


def _pagination(by: str) -> Pagination:
    field = "next" if by in ("next", "token") else ""
    return Pagination(by=by, field=field, size=1000 if by == "offset" else None)  # type: ignore[arg-type]


def _orders(tmp_path: Path, service: Service, *, rows: str = "final", by: str = "page", files: FileForm | None = None,
            connection: dict[str, Any] | None = None, **source: Any) -> Collecting:  # fmt: skip
    source = {
        "url": f"{service.url}/v1/orders", "records": "data.items", "cursor": "changed", "cursor_parameter": "since",
        "pagination": _pagination(by), "timeout": 2, **source,
    }  # fmt: skip
    tmp_path.mkdir(exist_ok=True)
    if connection is not None:
        source |= {"connection": "shop", "url": "/v1/orders"}
    spec = DatasetSpec(
        name="orders", title="Orders", owner="shop", key=("id",), event_time="at", rows=rows, columns=COLUMNS,
        on_known_key="replace" if rows == "corrected" else "refuse", files=files or FileForm(extra="drop"), source=HttpSource(**source),
    )  # fmt: skip
    return Collecting(spec, tmp_path / "store", {"shop": connection} if connection is not None else None)


@pytest.mark.parametrize("by", ["page", "offset", "link", "next", "token"])
def test_what_is_new_comes_once_by_any_pagination(tmp_path: Path, service: Service, by: str) -> None:
    """DM-01: The first look reads all pages, the second nothing, the third what came since, with equal values at the border; the server
    may give fewer records than it is asked for."""
    given = Orders(service, 35, by)
    orders = _orders(tmp_path, service, by=by)
    assert orders.collect().rows == 35
    assert orders.collect().outcome == "skipped"
    given.records += [_record(36, changed=35), _record(37, amount=0.1, city=None)]
    third = orders.collect()
    assert (third.rows, third.repeated) == (2, 1)
    assert not orders.take_in().refused
    assert orders.keys() == dict.fromkeys(range(1, 38), 1)
    assert [row for row in orders.rows() if row["id"] == 37] == [{"id": 37, "at": datetime(2026, 3, 1, 8), "amount": 0.1, "city": None}]


def test_the_order_of_the_server_does_not_matter(tmp_path: Path, service: Service) -> None:
    """DM-01: The newest come first: the cursor moves at the end of all pages alone, so that a look which breaks loses none."""
    given = Orders(service, 45)
    given.records.reverse()
    orders = _orders(tmp_path, service, piece_pages=1)
    service.answers["/v1/orders"] = lambda asked: given.page(asked) if asked.parameters["page"] < "4" else Reply(status=400)
    with pytest.raises(SourceRefused, match=r"/v1/orders refuses what is asked of it for orders \(400 \(bad request\)"):
        orders.collect()
    service.answers["/v1/orders"] = given.page
    orders.collect()
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 46), 1)


def test_records_that_move_between_pages_come_once(tmp_path: Path, service: Service) -> None:
    """DM-01: A new record at the front pushes the last of a page to the next one, where it is read again and lands once."""
    given = Orders(service, 30)
    given.records.reverse()

    def pushes(asked: Asked) -> Reply:
        reply = given.page(asked)
        given.records.insert(0, _record(100 + int(asked.parameters["page"])))
        return reply

    service.answers["/v1/orders"] = pushes
    orders = _orders(tmp_path, service, piece_pages=2)
    orders.collect()
    service.answers["/v1/orders"] = given.page
    orders.collect()
    assert not orders.take_in().refused
    assert orders.keys() == dict.fromkeys((record["id"] for record in given.records), 1)


def test_a_changed_record_replaces_or_stands_apart(tmp_path: Path, service: Service) -> None:
    """DM-01, DM-02: With corrections it replaces its own; else it lands in a file of its own, whose refusal costs the others nothing."""
    for rows in ("corrected", "final"):
        given = Orders(service, 12)
        orders = _orders(tmp_path / rows, service, rows=rows)
        orders.collect()
        given.records[4]["looked_at"] = given.records[11]["looked_at"] = "now"  # of what nobody reads no change is told
        assert orders.collect().repeated == 1
        given.records[11]["city"] = "Bern"
        given.records.append(_record(13))
        result = orders.collect()
        assert (result.rows, result.changed) == (2, 1)
        taken = orders.take_in()
        assert list(taken.refused) == ([] if rows == "corrected" else ["orders-changed-00000003.jsonl"])
        assert orders.keys() == dict.fromkeys(range(1, 14), 1)
        assert [row["city"] for row in orders.rows() if row["id"] == 12] == ["Bern" if rows == "corrected" else "Rome"]


def test_without_a_cursor_all_is_compared(tmp_path: Path, service: Service) -> None:
    """DM-01: Everything is read each time; what was added or changed lands."""
    given = Orders(service, 25)
    orders = _orders(tmp_path, service, rows="corrected", cursor="", cursor_parameter="")
    assert orders.collect().rows == 25
    assert orders.collect().outcome == "skipped"
    given.records[2]["amount"] = 9.0
    given.records.append(_record(26))
    assert orders.collect().rows == 2
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 27), 1)
    assert [row["amount"] for row in orders.rows() if row["id"] == 3] == [9.0]


def test_an_answer_that_has_not_changed_is_not_sent(tmp_path: Path, service: Service) -> None:
    """DM-01: ETag and Last-Modified are sent back, and 304 is nothing new; not where one answer is a page of several."""
    orders = _orders(tmp_path, service, cursor="", cursor_parameter="", pagination=None, records="")
    seen = {"etag": '"7"', "modified": "Mon, 02 Mar 2026 08:00:00 GMT"}

    def conditional(asked: Asked) -> Reply:
        if asked.headers.get("if-none-match") == seen["etag"] and asked.headers.get("if-modified-since") == seen["modified"]:
            return Reply(status=304)
        return Reply([_record(1)], headers={"ETag": seen["etag"], "Last-Modified": seen["modified"]})

    service.answers["/v1/orders"] = conditional
    assert orders.collect().rows == 1
    assert orders.collect().outcome == "skipped"
    seen["etag"] = '"8"'
    assert orders.collect().repeated == 1
    assert [asked.headers.get("if-none-match") for asked in service.asked] == [None, '"7"', '"7"']
    assert orders.collect().outcome == "skipped"
    given = Orders(service, 15, "next")
    service.answers["/v1/orders"] = lambda asked: Reply(given.page(asked).body, headers={"ETag": '"9"'})
    paged = _orders(tmp_path / "paged", service, by="next", cursor="", cursor_parameter="")
    paged.collect()
    service.asked.clear()
    paged.collect()
    assert not any("if-none-match" in asked.headers for asked in service.asked)


def test_a_kill_before_any_write_costs_nothing(tmp_path: Path, service: Service) -> None:
    """DM-01, DE-22: Killed before each of its writes in turn, with files taken in between, then run again: every record is in once."""
    given = Orders(service, 35)
    before, kills = 1, 0
    while True:
        orders = Collecting(_orders(tmp_path, service, piece_pages=2).spec, tmp_path / f"store-{before}")
        killed = orders.collect_killed(before)
        orders.take_in()
        given.records.append(_record(len(given.records) + 1))
        for _ in range(3):  # a look that goes on at page 5 does not see what has come to page 4: the next one does
            orders.collect()
        assert orders.collect().outcome == "skipped"
        assert not orders.take_in().refused
        assert orders.keys() == dict.fromkeys(range(1, len(given.records) + 1), 1)
        kills += killed
        if not killed:
            break
        before += 1
    assert kills > 10


def test_a_thousand_pages_go_on_where_they_were_killed(tmp_path: Path, service: Service) -> None:
    """DM-01, DE-22: Of 1,000 pages, with pauses and faults among them, the look is killed after about 600: the next one reads only what
    was not safe, and every record is in once."""
    given = Orders(service, 10_000, "token")
    orders = _orders(tmp_path, service, by="token", patience=1000)
    count = 0

    def moody(asked: Asked) -> Reply:
        nonlocal count
        count += 1
        if count % 97 == 0:
            return Reply("later", 429, {"Retry-After": "1"})
        return Reply(status=500) if count % 89 == 0 else given.page(asked)

    service.answers["/v1/orders"] = moody
    assert orders.collect_killed(before=86)
    read = len({asked.parameters.get("token") for asked in service.asked})
    assert 600 <= read <= 700
    service.asked.clear()
    orders.collect()
    again = len({asked.parameters.get("token") for asked in service.asked})
    assert again <= 1000 - read + 50
    assert orders.collect().outcome == "skipped"
    assert not orders.take_in().refused
    assert orders.keys() == dict.fromkeys(range(1, 10_001), 1)


def test_short_pauses_are_waited_and_long_ones_end_the_look(tmp_path: Path, service: Service, waits: list[float]) -> None:
    """DM-01: Retry-After in seconds or as a date: a short one is waited in place; for a long one the look ends with what it has, names
    the moment, and the next one goes on at that page."""
    given = Orders(service, 25)
    orders = _orders(tmp_path, service)
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=20), usegmt=True)
    service.first += [Reply("slower", 429, {"Retry-After": "7"}), Reply("", 503, {"Retry-After": soon})]
    assert orders.collect().rows == 25
    assert waits[0] == 7
    assert 15 < waits[1] <= 21
    given.records += [_record(number) for number in range(26, 50)]
    third = [True]

    def tired(asked: Asked) -> Reply:
        if asked.parameters["page"] == "3" and third and third.pop():
            return Reply("tomorrow", 429, {"Retry-After": "3600"})
        return given.page(asked)

    service.answers["/v1/orders"] = tired
    result = orders.collect()
    assert (result.outcome, result.rows) == ("done", 19)
    assert 3590 < (result.again_at or 0) - time.time() <= 3600
    assert "answers 429 (too many requests) and is to be left alone for 1 hour" in result.sentence
    service.asked.clear()
    assert orders.collect().rows == 5
    assert [asked.parameters["page"] for asked in service.asked] == ["3", "4"]
    service.first += [Reply("", 429)] * 4
    assert 50 < (orders.collect().again_at or 0) - time.time() <= 60
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 50), 1)


def test_a_server_that_fails_or_goes_is_a_sentence_and_no_loss(tmp_path: Path, service: Service, waits: list[float]) -> None:
    """DM-01, DE-15: A few faults are asked again; a server that stays away is a sentence, and once it is back the rest is read."""
    given = Orders(service, 35)
    orders = _orders(tmp_path, service, timeout=0.5)
    service.first += [Reply(status=500), Reply(status=502), Reply({"data": {"items": []}}, cut=5)]

    def dies(asked: Asked) -> Reply:
        if asked.parameters["page"] == "3":
            service.stop()
        return given.page(asked)

    service.answers["/v1/orders"] = dies
    with pytest.raises(SourceUnreachable, match=r"/v1/orders, from which orders is read, fails: .* It was asked 4 times. What was read"):
        orders.collect()
    assert waits[:3] == [0.5, 1, 2]
    service.answers["/v1/orders"] = given.page
    service.start()
    orders.take_in()
    assert len(orders.keys()) >= 20
    assert orders.collect().rows <= 15
    service.first += [Reply("", slow=0.7)] * 4
    with pytest.raises(SourceUnreachable, match="it does not answer in time"):
        orders.collect()
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 36), 1)


@pytest.mark.parametrize(
    ("reply", "error", "why"),
    [
        (Reply("no", 401), SourceRefused, r"does not accept the credentials, no: check url of the source"),
        (Reply("", 403), SourceRefused, r"may not be read with these credentials: ask for the right"),
        (Reply("", 404), SourceRefused, r"is not there \(404 \(not found\)\): correct url"),
        (Reply("<html>"), SourceRefused, r"is of the type text/plain, which is neither JSON nor a file of rows"),
        (Reply("{x", headers={"Content-Type": "application/json"}), SourceRefused, r"is no JSON \(.* at line 1, sign 2\)"),
        (Reply('{"data": {"items": [{"id"', headers={"Content-Type": "application/json"}), SourceUnreachable, "in the middle, 3 times"),
        (Reply(b"\xff", headers={"Content-Type": "application/json; charset=utf-8"}), SourceRefused, "is no text in the encoding utf-8"),
        (Reply("[]", headers={"Content-Type": "application/json; charset=klingon"}), SourceRefused, "encoding klingon, which nobody knows"),
        (Reply({"data": {"rows": [{"id": 1}]}}), SourceRefused,
         r"no array of records at data.items, but at data.rows: write records='data.rows'"),
        (Reply({"data": {"items": []}}, headers={"Content-Encoding": "gzip"}), SourceUnreachable, "its answer cannot be unpacked"),
        (Reply(gzip.compress(b" " * 2_000_000), headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}), SourceRefused,
         r"is larger than answer_bytes of the source allows \(1,000,000 bytes unpacked\)"),
        (Reply("a,b", headers={"Content-Type": "text/csv"}), SourceRefused, "gives a file of the type text/csv, which has no pages"),
        (Reply("", 302, {"Location": "/v1/orders"}), SourceRefused, "leads from one address to the next without an end"),
        (Reply({"data": {"items": [{"id": 1, "at": "2026-03-01", "price": 1, "changed": 1}]}}), SourceRefused,
         r"No record of .* has amount; they have at, changed, id, price. Nothing of that page was read"),
        (Reply({"data": {"items": [_record(1), _record(2, changed="x")]}}), SourceRefused, r"is 'x' in a record and 1 in another"),
        (Reply({"data": {"items": [_record(1, changed=[1])]}}), SourceRefused, r"is \[1\] in a record: nobody can tell"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence(tmp_path: Path, service: Service, reply: Reply, error: type[Exception], why: str) -> None:
    """DM-01, DE-15: Refusals, answers that are none, and fields that were renamed are told with what to do, and the watermark stays."""
    service.answers["/v1/orders"] = lambda asked: reply
    orders = _orders(tmp_path, service, answer_bytes=1_000_000)
    with pytest.raises(error, match=why):
        orders.collect()
    Orders(service, 5)
    assert orders.collect().rows == 5
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 6), 1)


def test_renamed_fields_cost_nothing(tmp_path: Path, service: Service) -> None:
    """DM-01, DM-02: A needed field is renamed between two looks: refused before the watermark moves; once the spec knows the new name all
    is read from there. New fields are told once."""
    given = Orders(service, 12)
    orders = _orders(tmp_path, service)
    orders.collect()
    for record in given.records:
        record["price"] = record.pop("amount")
    given.records.append({**_record(13), "price": 1.5, "colour": "red"})
    del given.records[-1]["amount"]
    with pytest.raises(SourceRefused, match=r"No record of .* has amount; they have at, changed, city, colour, id, price"):
        orders.collect()
    mended = orders.spec.model_copy(update={"files": FileForm(fields={"amount": "price"}, extra="drop")})
    again = Collecting(mended, Path(orders.store.root))
    told = again.collect()
    assert (told.rows, "Records have new fields: colour, price" in told.sentence) == (1, True)
    assert "new fields" not in again.collect().sentence


def test_one_bad_record_costs_only_itself(tmp_path: Path, service: Service) -> None:
    """DM-01, DM-02: What is no object or has no number stands in a file of its own, which is refused alone."""
    body = json.dumps({"data": {"items": [_record(1), "x", _record(2, amount=float("nan")), _record(3, city="\ud800"), _record(4)]}})
    page = [Reply(body, headers={"Content-Type": "application/json"})]
    service.answers["/v1/orders"] = lambda asked: page[0] if asked.parameters["page"] == "1" else Reply({"data": {"items": []}})
    orders = _orders(tmp_path, service)
    result = orders.collect()
    assert (result.rows, result.unreadable) == (2, 3)
    assert list(orders.take_in().refused) == ["orders-unreadable-00000001.jsonl"]
    assert orders.keys() == {1: 1, 4: 1}


def test_pages_without_an_end_are_refused(tmp_path: Path, service: Service) -> None:
    """DM-01: A next page that leads back, a page number that the server does not know, and more pages than allowed."""
    given = Orders(service, 25, "next")
    back = f"{service.url}/v1/orders?from=10"
    service.answers["/v1/orders"] = lambda asked: Reply({**given.page(asked).body, "next": back})
    orders = _orders(tmp_path, service, by="next")
    with pytest.raises(SourceRefused, match="leads to the same next page again after 2 pages: reading it would never end"):
        orders.collect()
    service.answers["/v1/orders"] = given.page
    orders.collect()
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 26), 1)
    service.answers["/v1/orders"] = lambda asked: Reply({"data": {"items": [_record(1)]}})
    with pytest.raises(SourceRefused, match="the same page for page=2 as for the one before: it seems not to know the parameter page"):
        _orders(tmp_path / "a", service).collect()
    Orders(service, 50)
    with pytest.raises(SourceRefused, match="has more than 2 pages, which most_pages"):
        _orders(tmp_path / "b", service, most_pages=2).collect()


def test_a_page_that_is_gone_begins_its_round_again(tmp_path: Path, service: Service) -> None:
    """DM-01: After a kill the server does not know its token any more: all is read from the cursor again, and lands once."""
    given = Orders(service, 45, "token")
    orders = _orders(tmp_path, service, by="token", piece_pages=1)
    service.answers["/v1/orders"] = lambda asked: given.page(asked) if asked.parameters.get("token") != "30" else Reply(status=500)
    with pytest.raises(SourceUnreachable):
        orders.collect()
    told: list[str] = []

    def forgets(asked: Asked) -> Reply:
        if asked.parameters.get("token") == "30" and not told:
            told.append("once")
            return Reply("expired", 410)
        return given.page(asked)

    service.answers["/v1/orders"] = forgets
    result = orders.collect()
    assert (result.rows, result.repeated) == (15, 30)
    assert "not there any more: all was read again from its cursor" in result.sentence
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 46), 1)


def _basic(asked: Asked) -> bool:
    return asked.headers.get("authorization") == "Basic cmVhZGVyOmdlaGVpbQ=="


@pytest.mark.parametrize(
    ("connection", "knows"),
    [
        ({"login": "reader", "password": "geheim"}, _basic),
        ({"password": "geheim"}, lambda asked: asked.headers.get("authorization") == "Bearer geheim"),
        ({"password": "geheim", "extra": {"header": "X-Key"}}, lambda asked: asked.headers.get("x-key") == "geheim"),
        ({"password": "geheim", "extra": {"parameter": "key"}}, lambda asked: asked.parameters.get("key") == "geheim"),
        ({"extra": {"headers": {"X-Team": "geheim"}}}, lambda asked: asked.headers.get("x-team") == "geheim"),
    ],
)
def test_credentials_of_a_connection(tmp_path: Path, service: Service, connection: dict[str, Any], knows: Callable[[Asked], bool]) -> None:
    """DM-01, SC-05: Each way in by a connection; without it a sentence, and what is secret is in no sentence, watermark or file."""
    given = Orders(service, 15, "next")

    def guarded(asked: Asked) -> Reply:
        if not knows(asked):
            return Reply(f"not with {asked.headers.get('authorization')}", 401)
        reply = given.page(asked)
        if "key" in asked.parameters and "next" in reply.body:
            reply.body["next"] += f"&key={asked.parameters['key']}"
        return reply

    service.answers["/v1/orders"] = guarded
    host = service.url.removeprefix("http://")
    orders = _orders(tmp_path, service, by="next", piece_pages=1, connection={"host": host, "database": "http", **connection})
    assert orders.collect().rows == 15
    stored = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert not any(b"geheim" in path.read_bytes() for path in stored)
    wrong = _orders(tmp_path / "w", service, by="next", connection={"host": service.url, "login": "geheim2", "password": "falsch"})
    with pytest.raises(SourceRefused, match=r"does not accept the credentials.*check the connection shop") as told:
        wrong.collect()
    assert "falsch" not in str(told.value)


def test_tokens_by_client_credentials(tmp_path: Path, service: Service) -> None:
    """DM-01, SC-05: A token is asked for, kept while it lasts, and asked for again where the server does not know it any more."""
    given, issued = Orders(service, 35), []

    def token(asked: Asked) -> Reply:
        if not _basic(asked) or asked.body != "grant_type=client_credentials&scope=read":
            return Reply({"error": "invalid_client"}, 400)
        issued.append(f"token-{len(issued)}")
        return Reply({"access_token": issued[-1], "expires_in": 3600})

    def guarded(asked: Asked) -> Reply:
        if not issued or asked.headers.get("authorization") != f"Bearer {issued[-1]}":
            return Reply("", 401)
        if asked.parameters["page"] == "2" and len(issued) == 1:
            issued.append("revoked")
        return given.page(asked)

    service.answers |= {"/token": token, "/v1/orders": guarded}
    known = {"host": service.url, "login": "reader", "password": "geheim", "extra": {"token_url": "/token", "scope": "read"}}
    orders = _orders(tmp_path, service, connection=known)
    assert orders.collect().rows == 35
    assert issued == ["token-0", "revoked", "token-2"]
    with pytest.raises(SourceRefused, match=r"/token gives no token for orders \(400 \(bad request\)\): check login"):
        _orders(tmp_path / "w", service, connection={**known, "password": "falsch"}).collect()


def test_credentials_stay_with_their_server(tmp_path: Path, service: Service) -> None:
    """DM-01, SC-05: Neither a redirect nor a next page on another server gets them; a source elsewhere than its connection is refused."""
    with Service() as other:
        Orders(other, 5)
        given = Orders(service, 15, "next")
        known = {"host": service.url, "password": "geheim", "extra": {"header": "X-Key"}}
        service.first.append(Reply("", 302, {"Location": f"{other.url}/v1/orders"}))
        orders = _orders(tmp_path, service, by="next", connection=known)
        assert orders.collect().rows == 5
        page = given.page(Asked("/v1/orders", {}, {})).body
        service.answers["/v1/orders"] = lambda asked: Reply({**page, "next": f"{other.url}/v1/orders?from=1"})
        _orders(tmp_path / "n", service, by="next", connection=known).collect()
        assert len(other.asked) == 2
        assert not any("x-key" in asked.headers for asked in other.asked)
        assert all(asked.headers["x-key"] == "geheim" for asked in service.asked)
        elsewhere = _orders(tmp_path / "e", service, connection=known)
        source = elsewhere.spec.source
        assert source is not None
        moved = elsewhere.spec.model_copy(update={"source": source.model_copy(update={"url": f"{other.url}/v1/orders"})})
        with pytest.raises(SourceRefused, match="credentials do not go to another server"):
            Collecting(moved, tmp_path / "m", {"shop": known}).collect()


def _certificate(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that only `folder/ca.pem` vouches for."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(private + (folder / "ca.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def test_certificates_are_checked(tmp_path: Path) -> None:
    """DM-01, SC-05: A certificate that nobody knows is refused with a sentence; an authority of one's own is named by the connection."""
    with Service(_certificate(tmp_path)) as service:
        Orders(service, 5)
        host = service.url.removeprefix("https://")
        with pytest.raises(SourceUnreachable, match=r"certificate of https://127.0.0.1:\d+/v1/orders is not trusted .*name its file as ca"):
            _orders(tmp_path, service, connection={"host": host}).collect()
        orders = _orders(tmp_path, service, connection={"host": host, "extra": {"ca": str(tmp_path / "ca.pem")}})
        assert orders.collect().rows == 5


def test_connections_that_are_none(tmp_path: Path, service: Service) -> None:
    """DM-01, DE-15: No host, an extra that nobody knows, a user in the address."""
    for connection, why in (
        ({"password": "x"}, "has no host, and /v1/orders is no whole address"),
        (
            {"host": service.url, "extra": {"X-Key": "geheim"}},
            "has the extra X-Key, which an HTTP source does not know: it knows ca, header",
        ),
        ({"host": "http://a:geheim@h"}, "has a user in it: write it as login and password"),
    ):
        with pytest.raises(SettingMissing, match=why) as told:
            _orders(tmp_path, service, connection=connection).collect()
        assert "geheim" not in str(told.value)


def test_answers_are_kept_as_they_came(tmp_path: Path, service: Service) -> None:
    """DM-01: In a ZIP file for each piece, for as many days as the source says; not at all if it says so."""
    Orders(service, 25)
    orders = _orders(tmp_path, service, piece_pages=2)
    orders.collect()
    kept = sorted(item.key for item in orders.store.list("collected/orders/raw"))
    assert len(kept) == 2
    with zipfile.ZipFile(BytesIO(orders.store.read(kept[0]))) as answers:
        assert answers.namelist() == ["000001-orders.json", "000002-orders.json"]
        assert json.loads(answers.read("000001-orders.json"))["data"]["items"][0] == _record(1)
    with patch("perennial.sources.collected.time", type("Clock", (), {"time": staticmethod(lambda: time.time() + 8 * 86_400)})):
        orders.collect()
    assert not list(orders.store.list("collected/orders/raw"))
    none = _orders(tmp_path / "none", service, raw_days=0)
    none.collect()
    assert not list(none.store.list("collected/orders/raw"))


def test_json_lines_and_other_encodings(tmp_path: Path, service: Service) -> None:
    """DM-01: JSON lines, with a line that is none; JSON in UTF-16 and Latin-1; packed answers."""
    pair = json.dumps([_record(1, city="Zürich"), _record(2)], ensure_ascii=False)
    lines = "\n".join([json.dumps(_record(1, city="Zürich")), "", "{broken", json.dumps(_record(2))])
    for number, (body, kind, more) in enumerate((
        (lines.encode(), "application/x-ndjson", {}),
        (pair.encode("utf-16"), "application/json", {}),
        (pair.encode("latin-1"), "application/json; charset=latin-1", {}),
        (gzip.compress(pair.encode()), "application/vnd.api+json", {"Content-Encoding": "gzip"}),
    )):  # fmt: skip
        reply = Reply(body, headers={"Content-Type": kind, **more})
        service.answers["/v1/orders"] = lambda asked, reply=reply: reply
        orders = _orders(tmp_path / str(number), service, pagination=None, records="")
        result = orders.collect()
        assert (result.rows, result.unreadable) == (2, 1 if number == 0 else 0)
        orders.take_in()
        assert [row["city"] for row in orders.rows()] == ["Zürich", "Rome"]


def test_a_file_lands_as_it_is(tmp_path: Path, service: Service) -> None:
    """DM-01: A daily export in CSV lands when it has changed; its form is that of the dataset's files."""
    export = ["id;at;amount;city\n1;2026-03-01 08:00;1,5;Rome\n"]
    service.answers["/export/orders.csv"] = lambda asked: Reply(export[0], headers={"Content-Type": "text/csv"})
    orders = _orders(
        tmp_path, service, url=f"{service.url}/export/orders.csv", records="", pagination=None, cursor="", cursor_parameter="",
        files=FileForm(separator=";", decimal=","),
    )  # fmt: skip
    result = orders.collect()
    assert result.files == ("orders-00000001.csv",)
    assert result.sentence == f"1 file of {service.url}/export/orders.csv landed for orders."
    assert orders.collect().outcome == "skipped"
    export[0] = "id;at;amount;city\n2;2026-03-02 08:00;2,5;Bern\n"
    orders.collect()
    assert not orders.take_in().refused
    assert [row["amount"] for row in orders.rows()] == [1.5, 2.5]
