"""Spans of what the platform does, sent to a receiver by OpenTelemetry's own variables. Light; off by default.

Nothing is loaded and nothing costs time unless `OTEL_EXPORTER_OTLP_ENDPOINT` names a receiver of OTLP over HTTP. A stage continues the
trace of the task that started it (`TRACEPARENT`, in the form of W3C Trace Context), and hands it on with what it asks of others. A
receiver that does not answer costs a stage at most `FLUSH_SECONDS`, at its end, and never its result.

    >>> from perennial import tracing
    >>> with tracing.span("move traffic", model="churn", version=7) as note:
    ...     note(weight=10)
    >>> tracing.trace_id(), tracing.headers()  # no receiver is named
    ('', {})
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from perennial.errors import PerennialError, Refused

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, Tracer

log = logging.getLogger(__name__)

PARENT, STATE = "TRACEPARENT", "TRACESTATE"  # variables by which a process is told of which trace it is part
SERVICE = "OTEL_SERVICE_NAME"
KEPT = "tracing.json"  # in a home
FLUSH_SECONDS = 3.0  # that the end of a process may take longer for a receiver that does not answer
LONGEST_TEXT = 1_000  # of an attribute
HTTP = "http/protobuf"
_EXPORTERS = ("", "otlp", "otlp_proto_http")
_SHARES = {"": 1.0, "always_on": 1.0, "parentbased_always_on": 1.0, "always_off": 0.0, "parentbased_always_off": 0.0}
_RATIOS = ("traceidratio", "parentbased_traceidratio")

Value = str | int | float | bool
Note = Callable[..., None]


@dataclass(frozen=True)
class Receiver:
    """Where spans go.

    Attributes:
        url: to which they are posted.
        headers: that go with them, such as a key.
        certificate: file with the authorities that are trusted where the URL begins with https; empty for the system's.
        share: of the traces that nobody else has decided on that is kept, 0 to 1.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: str = ""
    share: float = 1.0


class Trouble(ValueError):
    """The variables name a receiver to which nothing can be sent; the message is a sentence."""


def receiver(environment: Mapping[str, str] | None = None) -> Receiver | None:
    """The receiver that OpenTelemetry's variables name; None if they name none or switch tracing off.

    Raises:
        Trouble: they name one, or a way to it, that does not work here.
    """
    given = os.environ if environment is None else environment
    if given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or given.get("OTEL_TRACES_EXPORTER", "").strip() not in _EXPORTERS:
        return None
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" if given.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") else "OTEL_EXPORTER_OTLP_ENDPOINT"
    address = given.get(name, "").strip()
    if not address:
        return None
    parts = urlsplit(address)
    try:
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise Trouble(f"{name} is {address!r}, which is no address of a receiver of spans: give one like http://127.0.0.1:4318.")
    protocol = _either(given, "PROTOCOL")
    if protocol not in ("", HTTP):
        raise Trouble(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, and spans are sent as {HTTP}: unset it, and name the receiver's port for HTTP, "
            "usually 4318."
        )
    url = address if name.endswith("TRACES_ENDPOINT") else f"{address.rstrip('/')}/v1/traces"
    return Receiver(url, _headers(_either(given, "HEADERS")), _either(given, "CERTIFICATE"), _share(given))


def is_on(environment: Mapping[str, str] | None = None) -> bool:
    """Whether spans are sent."""
    try:
        return receiver(environment) is not None
    except Trouble:
        return False


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """OpenTelemetry's variables, for a process that is to send its spans to the same receiver; none where there is no receiver.

    Raises:
        Trouble: see `receiver`.
    """
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if name.startswith("OTEL_") and value} if receiver(given) else {}


def named(given: Mapping[str, str], part: str) -> dict[str, str]:
    """The same variables with the name of a part of the platform: `perennial-gateway`, or `<OTEL_SERVICE_NAME>-gateway`."""
    return {**given, SERVICE: f"{given.get(SERVICE) or 'perennial'}-{part}"} if given else {}


def keep(home: Path, given: Mapping[str, str]) -> None:
    """Note the variables with which the platform of a home comes up: gateway and servers have them, whoever starts those later."""
    file = home / KEPT
    if not given:
        file.unlink(missing_ok=True)
        return
    unfinished = file.with_name(f".{KEPT}.{os.getpid()}.unfinished")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as text:  # a header may be a key
        json.dump(dict(given), text, indent=1)
    unfinished.replace(file)


def kept(home: Path) -> dict[str, str]:
    """What `keep` noted; none where no spans are sent."""
    try:
        given: dict[str, str] = json.loads((home / KEPT).read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # absent, or damaged: `perennial up` notes it anew
        return {}
    return given


def of_part(home: Path, part: str) -> tuple[Receiver | None, str]:
    """The receiver that the platform of a home sends to, and the name of one of its parts."""
    given = named(kept(home), part)
    return receiver(given), given.get(SERVICE, "")


def _either(given: Mapping[str, str], what: str) -> str:
    return (given.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}") or given.get(f"OTEL_EXPORTER_OTLP_{what}") or "").strip()


def _headers(text: str) -> dict[str, str]:
    """`key=value,key=value`, the values as in addresses."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def _share(given: Mapping[str, str]) -> float:
    name, share = given.get("OTEL_TRACES_SAMPLER", "").strip(), given.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    if name in _SHARES:
        return _SHARES[name]
    try:
        ratio = float(share)
    except ValueError:
        ratio = -1.0
    if name not in _RATIOS or not 0 <= ratio <= 1:
        known = ", ".join([*filter(None, _SHARES), *_RATIOS])
        raise Trouble(
            f"OTEL_TRACES_SAMPLER is {name!r} with OTEL_TRACES_SAMPLER_ARG {share!r}: give one of {known}, "
            "the last two with a share from 0 to 1."
        )
    return ratio


# -- spans of this process -------------------------------------------------------------------------------------------


class _Exporter(Protocol):
    def export(self, spans: Any) -> Any: ...

    def shutdown(self) -> None: ...


@dataclass
class _Running:
    """Tracing of this process."""

    provider: TracerProvider
    tracer: Tracer
    url: str
    counted: _Counted


class _Counted:
    """Hands spans to an exporter and counts those that it could not send."""

    def __init__(self, exporter: _Exporter) -> None:
        self._exporter, self.lost = exporter, 0

    def export(self, spans: Any) -> Any:
        result = self._exporter.export(spans)
        self.lost += 0 if result.name == "SUCCESS" else len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@dataclass
class _Process:
    """What this process sends, and its own span with what undoes that it is the current one."""

    sends: _Running | None = None
    spans: list[tuple[Span, Any]] = field(default_factory=list)


_process = _Process()


def start(service: str, environment: Mapping[str, str] | None = None) -> bool:
    """Send the spans of this process from now on, if a receiver is named; whether one is.

    A receiver that cannot be used is said in the log, once; nothing else changes.
    """
    if _process.sends is not None:
        return True
    given = os.environ if environment is None else environment
    try:
        named_receiver = receiver(given)
    except Trouble as error:
        log.warning("No spans are sent: %s", error)
        return False
    if named_receiver is None:
        return False
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    for noisy in ("opentelemetry", "urllib3"):  # whether spans arrive is said once, at the end
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    counted = _Counted(OTLPSpanExporter(endpoint=named_receiver.url, headers=dict(named_receiver.headers)))
    provider = TracerProvider(resource=Resource.create({"service.name": given.get(SERVICE) or service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(counted))  # type: ignore[arg-type] # it has all that the processor calls
    _process.sends = _Running(provider, provider.get_tracer("perennial"), named_receiver.url, counted)
    return True


def begin(
    name: str,
    service: str,
    attributes: Mapping[str, Value | None],
    *,
    since: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Begin the span of this process: a part of the trace that its starter told it of. Does nothing where no receiver is named.

    Args:
        name: of the span.
        service: its service, unless OTEL_SERVICE_NAME says another.
        attributes: `perennial.<name>` each; no data of rows.
        since: when the process was started, seconds since the epoch; now if absent.
        environment: this process' own, if absent.
    """
    given = os.environ if environment is None else environment
    if not start(service, given) or _process.sends is None:
        return
    from opentelemetry import context, trace

    parent = _extracted({"traceparent": given.get(PARENT, ""), "tracestate": given.get(STATE, "")})
    begun = _process.sends.tracer.start_span(name, context=parent, start_time=None if since is None else int(since * 1e9))
    _note(begun, attributes)
    _process.spans.append((begun, context.attach(trace.set_span_in_context(begun))))


def end(outcome: str, sentence: str, attributes: Mapping[str, Value | None] | None = None) -> None:
    """End the span of this process and send what is not sent yet, for `FLUSH_SECONDS` at most.

    Args:
        outcome: done, skipped, refused or fault; a fault is an error.
        sentence: for a person.
        attributes: more of them.
    """
    if not _process.spans or _process.sends is None:
        return
    from opentelemetry import context
    from opentelemetry.trace import Status, StatusCode

    begun, token = _process.spans.pop()
    _note(begun, {**(attributes or {}), "outcome": outcome, "sentence": sentence})
    if outcome == "fault":
        begun.set_status(Status(StatusCode.ERROR, sentence[:LONGEST_TEXT]))
    begun.end()
    context.detach(token)
    stop()


def stop() -> None:
    """Send what is not sent yet, for `FLUSH_SECONDS` at most, and send no more."""
    running, _process.sends = _process.sends, None
    if running is None:
        return
    sent = threading.Event()

    def send() -> None:
        if not _is_refused(running.url):
            running.provider.shutdown()
            sent.set()

    last = threading.Thread(target=send, daemon=True)  # the library's own limit is half a minute
    last.start()
    last.join(FLUSH_SECONDS)
    if not sent.is_set() or running.counted.lost:
        log.warning(
            "Some spans could not be sent to %s: is a receiver of OTLP over HTTP there? Nothing else depends on it.", _shown(running.url)
        )


def _is_refused(url: str) -> bool:
    """Whether nobody listens there: the library would go on asking."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), FLUSH_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # it may be reached in another way, such as a proxy
    return False


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


@contextmanager
def span(name: str, *, links: tuple[str, ...] = (), **attributes: Value) -> Iterator[Note]:
    """A part of the work, as a part of what is under way; gives what notes more attributes of it.

    Args:
        name: of the part, in a few words without anything that varies.
        links: other traces that it has to do with, each as a `traceparent`.
        attributes: `perennial.<name>` each; no data of rows.
    """
    if _process.sends is None:
        yield _nothing
        return
    from opentelemetry.trace import Status, StatusCode

    with _process.sends.tracer.start_as_current_span(
        name, links=_links(links), record_exception=False, set_status_on_exception=False
    ) as begun:
        _note(begun, attributes)
        try:
            yield lambda **more: _note(begun, more)
        except BaseException as error:
            said = str(error) if isinstance(error, PerennialError) else type(error).__name__
            _note(begun, {"outcome": "refused" if isinstance(error, Refused) else "fault", "sentence": said})
            if not isinstance(error, Refused):
                begun.set_status(Status(StatusCode.ERROR, said[:LONGEST_TEXT]))
            raise


def request(name: str, headers: Mapping[str, str], *, links: tuple[str, ...] = (), **attributes: Value) -> AbstractContextManager[Note]:
    """The answer to a request, as a part of the trace that its headers name; gives what notes more attributes of it.

    Args:
        name: of what is done.
        headers: of the request, asked for in lower case.
        links: other traces that it has to do with, each as a `traceparent`.
        attributes: `perennial.<name>` each; no data of rows. A `status` of 500 and more is an error.
    """
    return _noted if _process.sends is None else _request(_process.sends, name, headers, links, attributes)


@contextmanager
def _request(
    sends: _Running, name: str, headers: Mapping[str, str], links: tuple[str, ...], attributes: Mapping[str, Value]
) -> Iterator[Note]:
    from opentelemetry import context
    from opentelemetry.trace import SpanKind, Status, StatusCode

    parent = _extracted({field: headers.get(field) or "" for field in ("traceparent", "tracestate")})
    token = context.attach(parent)
    try:
        with sends.tracer.start_as_current_span(
            name, kind=SpanKind.SERVER, links=_links(links), record_exception=False, set_status_on_exception=False
        ) as begun:
            _note(begun, attributes)

            def note(**more: Value) -> None:
                _note(begun, more)
                if int(more.get("status", 0)) >= 500:
                    begun.set_status(Status(StatusCode.ERROR))

            yield note
    finally:
        context.detach(token)


def _nothing(**attributes: Value) -> None:
    """Notes nothing: no spans are sent."""


_noted = nullcontext(_nothing)


def trace_id() -> str:
    """Identity of the trace that is under way, 32 hexadecimal digits; empty where no spans are sent."""
    found = _current()
    return f"{found.trace_id:032x}" if found else ""


def page(address: str) -> str:
    """Address of a page that shows the trace under way, from one with `{trace_id}` in it; empty without either."""
    known = trace_id()
    return address.replace("{trace_id}", known) if known else ""


def headers(*, recorded: bool = True) -> dict[str, str]:
    """Headers by which a request becomes a part of the trace that is under way; none where no spans are sent.

    Args:
        recorded: whether who is asked is to send spans of it; not for the hundreds of requests of one measurement.
    """
    current = _current()
    if current is None:
        return {}
    if not recorded:
        return {"traceparent": f"00-{current.trace_id:032x}-{current.span_id:016x}-00"}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


def parent_variables() -> dict[str, str]:
    """The same as variables of a process that is a part of it."""
    return {name.upper(): value for name, value in headers().items()}


def _current() -> Any:
    if _process.sends is None:
        return None
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def _extracted(carrier: Mapping[str, str]) -> Context:
    """The context that these headers tell of; an empty one where they are none or wrong."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({name: value for name, value in carrier.items() if value}, context=Context())


def _links(traceparents: tuple[str, ...]) -> list[Link]:
    from opentelemetry import trace

    found = (trace.get_current_span(_extracted({"traceparent": one})).get_span_context() for one in traceparents)
    return [trace.Link(context) for context in found if context.is_valid]


def _note(begun: Span, attributes: Mapping[str, Value | None]) -> None:
    for name, value in attributes.items():
        if value is not None and value != "":
            begun.set_attribute(f"perennial.{name}", value[:LONGEST_TEXT] if isinstance(value, str) else value)
