"""Envoy's tracing in the gateway's start-up file."""

import json

from perennial import tracing
from perennial.serving import envoy
from perennial.serving.gateway_traces import AUTHORITIES, Traced, traced_gateway
from perennial.settings import Settings
from perennial.tracing import Receiver


def test_nothing_is_added_where_no_spans_are_sent(tmp_path):
    """MN-13: The start-up file is what it was, so no gateway is started anew."""
    assert traced_gateway(None, "") == Traced()
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    before = json.dumps(envoy.bootstrap(settings))
    assert not [word for word in ("tracing", "spans", "x-trace-id", '"clusters"') if word in before]
    tracing.keep(settings.home, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    assert json.dumps(envoy.bootstrap(settings)) != before
    tracing.keep(settings.home, {})
    assert json.dumps(envoy.bootstrap(settings)) == before


def test_a_receiver_elsewhere_is_reached_by_tls_with_its_key():
    """MN-13: The certificate is checked for the receiver's own name, and the key goes with the spans as it is."""
    traced = traced_gateway(Receiver("https://spans.example.com/otlp/v1/traces", {"x-key": "50%"}, "", 0.25), "shop-gateway")
    (cluster,) = traced.clusters
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "spans.example.com", "port_value": 443}
    checked = cluster["transport_socket"]["typed_config"]
    assert checked["sni"] == "spans.example.com"
    validation = checked["common_tls_context"]["validation_context"]
    assert validation["trusted_ca"]["filename"] == AUTHORITIES
    (name,) = validation["match_typed_subject_alt_names"]
    assert name == {"san_type": "DNS", "matcher": {"exact": "spans.example.com"}}
    assert traced.manager["tracing"]["random_sampling"] == {"value": 25.0}
    config = traced.manager["tracing"]["provider"]["typed_config"]
    assert config["service_name"] == "shop-gateway"
    assert config["http_service"]["http_uri"]["uri"] == "https://spans.example.com/otlp/v1/traces"
    assert config["http_service"]["request_headers_to_add"] == [{"header": {"key": "x-key", "value": "50%%"}}]


def test_authorities_of_ones_own_are_trusted_and_plain_http_needs_none():
    """MN-13: OTEL_EXPORTER_OTLP_CERTIFICATE is what the gateway trusts too; an address without TLS has a port of its own or 80."""
    own = traced_gateway(Receiver("https://a:8443/v1/traces", {}, "/ca.pem"), "g").clusters[0]
    assert own["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]["trusted_ca"]["filename"] == "/ca.pem"
    assert own["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] == 8443
    plain = traced_gateway(Receiver("http://a/v1/traces"), "g").clusters[0]
    assert "transport_socket" not in plain
    assert plain["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] == 80
