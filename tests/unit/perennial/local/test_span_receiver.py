"""The receiver of spans of one machine."""

import gzip
import http.client
import stat
import zlib

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from perennial.local import span_receiver
from perennial.local.span_receiver import Refusal, SpanFiles, decoded, environment
from perennial.settings import Settings
from perennial.testing.spans import Spans

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"


def body(name="stage train", **attributes):
    """A request of an exporter with one span."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "perennial-stage"
    span = resource.scope_spans.add().spans.add(
        trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(SPAN), parent_span_id=bytes.fromhex(PARENT), name=name
    )
    span.start_time_unix_nano, span.end_time_unix_nano, span.status.code = 10, 20, 2
    span.links.add(trace_id=b"\xab" * 16, span_id=b"\xcd" * 8)
    span.attributes.add(key="rows").value.int_value = 3
    span.attributes.add(key="kept").value.bool_value = True
    span.attributes.add(key="share").value.double_value = 0.5
    span.attributes.add(key="list").value.array_value.values.add(string_value="a")
    span.attributes.add(key="nothing")
    return request.SerializeToString()


KEPT = {
    "trace": TRACE,
    "span": SPAN,
    "parent": PARENT,
    "service": "perennial-stage",
    "name": "stage train",
    "start": 10,
    "end": 20,
    "error": True,
    "links": ["ab" * 16],
}


@pytest.mark.parametrize(("pack", "encoding"), [(bytes, ""), (gzip.compress, "gzip"), (zlib.compress, "deflate")])
def test_a_request_of_an_exporter_is_read(pack, encoding):
    """MN-13: OTLP in protobuf, packed or not, becomes spans with all that is drawn."""
    (span,) = decoded(pack(body()), encoding)
    attributes = span.pop("attributes")
    assert span == KEPT
    assert (attributes["rows"], attributes["kept"], attributes["share"], attributes["nothing"]) == (3, True, 0.5, "")
    assert "a" in attributes["list"]


@pytest.mark.parametrize(("wrong", "encoding"), [(b"nonsense" * 9, ""), (b"nonsense", "gzip"), (b"nonsense", "deflate")])
def test_what_holds_no_spans_is_refused(wrong, encoding):
    """MN-13: A body that is no protobuf, or not packed as it says, is a sentence."""
    with pytest.raises(Refusal, match="no ExportTraceServiceRequest in protobuf"):
        decoded(wrong, encoding)


def test_a_body_that_becomes_huge_is_refused(monkeypatch):
    """MN-13: A small body that is packed zeros takes no more memory than a large one may."""
    monkeypatch.setattr(span_receiver, "LARGEST_BODY", 1000)
    with pytest.raises(Refusal, match="larger than 0 MB when it is unpacked"):
        decoded(gzip.compress(bytes(100_000)), "gzip")


def ask(server, method, path, sent=None, headers=None, chunked=False):
    """Status and text of an answer."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, sent, headers or {}, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_spans_are_taken_in_chunks_too(monkeypatch):
    """MN-13: Envoy says no length; what is no span, no path of spans, or too large, is refused and ends nothing."""
    with Spans() as server:
        assert ask(server, "GET", "/ready") == (200, "ready\n")
        assert ask(server, "POST", "/v1/traces", body()) == (200, "")
        whole = body("in chunks")
        pieces = iter([whole[:10], whole[10:]])
        assert ask(server, "POST", "/v1/traces", pieces, {"Transfer-Encoding": "chunked"}, chunked=True) == (200, "")
        assert ask(server, "POST", "/v1/traces", b"nonsense" * 9)[0] == 400
        assert ask(server, "POST", "/v1/traces", b"x", {"Content-Length": "-1"})[0] == 400
        assert ask(server, "POST", "/v1/logs", body()) == (404, "Spans are posted to /v1/traces.\n")
        assert ask(server, "GET", "/v1/traces")[0] == 404
        monkeypatch.setattr(span_receiver, "LARGEST_BODY", 10)
        assert ask(server, "POST", "/v1/traces", body())[0] == 400
        assert ask(server, "POST", "/v1/traces", iter([body()]), {"Transfer-Encoding": "chunked"}, chunked=True)[0] == 400
        monkeypatch.undo()
        assert ask(server, "POST", "/v1/traces", body("after"))[0] == 200
        assert [span["name"] for span in server.known] == ["stage train", "in chunks", "after"]


def test_the_newest_spans_are_kept(tmp_path):
    """MN-13: Two files hold them, readable by their owner alone; the oldest go, and a line cut short by a kill is none."""
    files = SpanFiles(tmp_path / "traces", most_bytes=400)
    for number in range(200):
        files.add([{"name": number}])
    known = [span["name"] for span in files.spans()]
    assert known == list(range(known[0], 200))
    assert 20 < len(known) < 60
    newest = tmp_path / "traces" / "spans.jsonl"
    assert stat.S_IMODE(newest.stat().st_mode) == 0o600
    with newest.open("a") as file:
        file.write('{"name": ')
    assert [span["name"] for span in files.spans()] == known
    SpanFiles(tmp_path / "traces", most_bytes=4_000).add([{"name": 200}])
    with newest.open("ab") as file:
        file.write(b"\xff\x00\n[]\n")
    assert [span["name"] for span in files.spans()] == [*known, 200], "what the next process writes is whole"
    assert list(SpanFiles(tmp_path / "none").spans()) == []


def test_the_machines_own_receiver_is_used_where_no_other_is_named():
    """MN-13: PERENNIAL_TRACES sends spans to the receiver that `perennial up` starts; a team's own receiver wins."""
    on = Settings.from_environment({"PERENNIAL_TRACES": "1", "PERENNIAL_TRACES_PORT": "14318"})
    assert environment(on, {"A": "b"}) == {"A": "b", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:14318"}
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://spans.example.com/v1/traces"}
    assert environment(on, own) == own
    assert environment(Settings.from_environment({}), {"A": "b"}) == {"A": "b"}
