"""The gateway's part in the Open Inference Protocol: its paths of REST, and calls of gRPC as requests of HTTP/1.1.

A call of gRPC comes to the gateway by HTTP/2 and leaves it as a request of HTTP/1.1 whose body is the call's message, to the same clusters
as all other requests: weights, retries and the evidence of a release know no difference. The answer's status of HTTP says how it went, as
for all others; the status of gRPC, which would hide that behind a 200, is made of two headers once the gateway has counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perennial.serving.route import FRESH, Route

Json = dict[str, Any]

MODEL_WANTED = "seldon-model"  # metadata of a call that names the model, as for Seldon Core 2
SERVICE = "/inference.GRPCInferenceService/"
INFER = "ModelInfer"
CALLS = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", INFER)
LOCAL_STATUS = "x-local-status"
_TYPE = "type.googleapis.com/envoy."
# gRPC's word for what the gateway itself refuses.
_CODES = {400: 3, 403: 7, 404: 5, 413: 8, 421: 5, 500: 13, 502: 14, 503: 14, 504: 4}
# Between bridge and router: what the gateway itself refuses looks like an answer of a server, or the bridge would hide the reason.
_REFUSED_HERE = f"""
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("content-type") ~= "application/grpc" then return end
  local codes = {{{", ".join(f'["{status}"] = "{code}"' for status, code in _CODES.items())}}}
  headers:replace("x-grpc-status", codes[headers:get("{LOCAL_STATUS}")] or headers:get("grpc-status") or "2")
  headers:replace("x-grpc-message", headers:get("grpc-message") or "")
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:replace("content-type", "application/x-protobuf")
end
"""
# Outside of all: the status of gRPC takes the place of HTTP's.
_STATUS = f"""
function envoy_on_response(handle)
  local headers = handle:headers()
  headers:remove("{LOCAL_STATUS}")
  local status = headers:get("x-grpc-status")
  if status == nil then return end
  local message = headers:get("x-grpc-message")
  headers:remove("x-grpc-status")
  headers:remove("x-grpc-message")
  headers:remove("content-length")
  headers:replace(":status", "200")
  headers:replace("content-type", "application/grpc")
  local last = handle:trailers() or headers
  last:replace("grpc-status", status)
  last:replace("grpc-message", message)
end
"""


def filters(whole_requests: Json) -> list[Json]:
    """The gateway's filters before its router, around the one that waits for whole requests."""
    bridge = {
        "@type": f"{_TYPE}extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
        "content_type": "application/x-protobuf",
        "withhold_grpc_frames": True,
    }
    return [
        _script("perennial.grpc_status", _STATUS),
        whole_requests,
        {"name": "envoy.filters.http.grpc_http1_reverse_bridge", "typed_config": bridge},
        _script("perennial.grpc_refused", _REFUSED_HERE),
    ]


def _script(name: str, source: str) -> Json:
    kind = f"{_TYPE}extensions.filters.http.lua.v3.Lua"
    return {"name": name, "typed_config": {"@type": kind, "default_source_code": {"inline_string": source}}}


def refusal_forms(too_large: str) -> list[Json]:
    """How the gateway's own refusals look to those who speak the protocol, before the form of all others."""
    told = {"header": {"key": LOCAL_STATUS, "value": "%RESPONSE_CODE%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    call: Json = {"headers_to_add": [told], "body_format_override": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}}
    rest: Json = {"body_format_override": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}}
    forms = []
    for path, form in ((_path({"prefix": SERVICE}), call), (_path({"contains": "/v2/"}), rest)):
        forms.append({"filter": _both(path, _status("EQ", 413)), "body": {"inline_string": too_large}, **form})
        forms.append({"filter": _both(path, _status("GE", 400)), **form})
    return forms


def _path(match: Json) -> Json:
    return {"header_filter": {"header": {"name": ":path", "string_match": match}}}


def _both(*each: Json) -> Json:
    return {"and_filter": {"filters": [*each]}}


def _status(operator: str, status: int) -> Json:
    return {"status_code_filter": {"comparison": {"op": operator, "value": {"default_value": status, "runtime_key": "unset"}}}}


def model_routes(
    model: str,
    prefix: str,
    route: Route,
    ways: Sequence[tuple[list[Json], Mapping[str, Any]]],
    aside: Callable[[int], Mapping[str, Any]],
    version_wanted: str,
) -> list[Json]:
    """A model's routes: predictions go the first of the `ways` whose headers fit, all else to a version's cluster `aside`."""
    by_number = [version for version in route.versions if version != FRESH]
    wanted = [(version, _is(version_wanted, str(version))) for version in by_number]
    lacks = {"name": version_wanted, "present_match": True, "invert_match": True}
    post, get = _is(":method", "POST"), _is(":method", "GET")
    routes: list[Json] = []

    def add(path: str, there: str, headers: list[Json], to: Mapping[str, Any]) -> None:
        routes.append({"match": {"path": path, "headers": headers}, "route": {**to, "prefix_rewrite": there}})

    there = f"/v2/models/{model}"
    for base in (f"{prefix}v2/models/{model}", there):
        for version, header in wanted:
            add(f"{base}/infer", f"{there}/infer", [post, header], aside(version))
            add(f"{base}/versions/{version}/infer", f"{there}/infer", [post], aside(version))
            add(f"{base}/versions/{version}/ready", f"{there}/ready", [get], aside(version))
            add(f"{base}/versions/{version}", there, [get], aside(version))
        for headers, way in ways:
            add(f"{base}/infer", f"{there}/infer", [post, *headers], way)
        for version, header in (*wanted, (route.stable, lacks)):
            add(f"{base}/ready", f"{there}/ready", [get, header], aside(version))
            add(base, there, [get, header], aside(version))
    for path in ("v2", "v2/health/live", "v2/health/ready"):
        add(f"{prefix}{path}", f"/{path}", [get], aside(route.stable))
    named = _is(MODEL_WANTED, model)
    for call in CALLS:
        path = f"{SERVICE}{call}"
        for version, header in wanted:
            add(path, path, [post, named, header], aside(version))
        alone: list[tuple[list[Json], Mapping[str, Any]]] = [([], aside(route.stable))]
        for headers, way in ways if call == INFER else alone:
            add(path, path, [post, named, *headers], way)
    return routes


def of_the_gateway(models: list[str], server: Mapping[str, Any]) -> list[Json]:
    """What the gateway answers itself: that it is there, whether it serves anything, and how calls name their model."""
    none = f"There is no such call of a model that is served: name the model in the metadata {MODEL_WANTED} (docs/serving.md)."
    return [
        _answer("/v2", server),
        _answer("/v2/health/live", {"live": True}),
        _answer("/v2/health/ready", {"ready": bool(models)}, 200 if models else 503),
        {"match": {"prefix": SERVICE}, "direct_response": {"status": 404, "body": {"inline_string": none}}},
    ]


def _answer(path: str, document: Mapping[str, Any], status: int = 200) -> Json:
    kind = {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "match": {"path": path, "headers": [_is(":method", "GET")]},
        "direct_response": {"status": status, "body": {"inline_string": json.dumps(document)}},
        "response_headers_to_add": [kind],
    }


def _is(header: str, value: str) -> Json:
    return {"name": header, "string_match": {"exact": value}}
