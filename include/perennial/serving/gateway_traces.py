"""Envoy's own tracing in the gateway's start-up file, where spans are sent. Pure.

>>> from perennial.tracing import Receiver
>>> traced = traced_gateway(Receiver("http://127.0.0.1:4318/v1/traces"), "perennial-gateway")
>>> traced.manager["tracing"]["provider"]["name"], traced.clusters[0]["name"]
('envoy.tracers.opentelemetry', 'spans')
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from perennial.tracing import Receiver

Json = dict[str, Any]

CLUSTER = "spans"
TRACE_ID = "x-trace-id"  # of every answer: by it a caller finds the trace
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # where Linux keeps those that it trusts
_TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Traced:
    """What tracing adds to the start-up file: fields of the connection manager, filters, and clusters."""

    manager: Json = field(default_factory=dict)
    filters: list[Json] = field(default_factory=list)
    clusters: list[Json] = field(default_factory=list)


def traced_gateway(receiver: Receiver | None, service: str) -> Traced:
    """A span for each request that callers send, in their trace where they name one; nothing where no spans are sent.

    Args:
        receiver: of the spans.
        service: name by which it tells the gateway from others.
    """
    if receiver is None:
        return Traced()
    http = {
        "http_uri": {"uri": receiver.url, "cluster": CLUSTER, "timeout": "3s"},
        "request_headers_to_add": [
            {"header": {"key": name, "value": value.replace("%", "%%")}} for name, value in sorted(receiver.headers.items())
        ],
    }
    provider = {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {"@type": f"{_TYPE}config.trace.v3.OpenTelemetryConfig", "service_name": service, "http_service": http},
    }
    manager = {
        "tracing": {
            "provider": provider,
            "random_sampling": {"value": receiver.share * 100},
            "spawn_upstream_span": False,
        },
        "generate_request_id": True,  # by it Envoy draws which requests are traced
        "preserve_external_request_id": False,
    }
    named = {"key": TRACE_ID, "value": "%TRACE_ID%"}
    answers = {"response_mutations": [{"append": {"header": named, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}
    told = {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {"@type": f"{_TYPE}extensions.filters.http.header_mutation.v3.HeaderMutation", "mutations": answers},
    }
    return Traced(manager, [told], [_cluster(receiver)])


def _cluster(receiver: Receiver) -> Json:
    parts = urlsplit(receiver.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    endpoint = {"address": {"socket_address": {"address": parts.hostname, "port_value": port}}}
    cluster: Json = {
        "name": CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }
    if parts.scheme == "https":
        trusted = {
            "trusted_ca": {"filename": receiver.certificate or AUTHORITIES},
            "match_typed_subject_alt_names": [{"san_type": _kind_of_name(parts.hostname or ""), "matcher": {"exact": parts.hostname}}],
        }
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": parts.hostname,
                "common_tls_context": {"validation_context": trusted},
            },
        }
    return cluster


def _kind_of_name(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "DNS"
    return "IP_ADDRESS"
