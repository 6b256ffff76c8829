"""The gateway's configuration: Envoy's start-up file once, its clusters and routes whenever traffic moves.

Clusters and routes are files that are renamed into place, which Envoy takes up live. One cluster for each version's predictions, never
changed while it is served, so that its counters go on; a version that shares traffic is reached through an aggregate
`<model>-v7-then-v6`, over which Envoy asks the stable version again whatever the other one failed, and each the other what it cannot
read. All else goes over clusters of its own, `<model>-v7-aside`, since the counters of the first are evidence: outcomes, whether a
version is ready, predictions of a caller who chose the version, and those that the other one was given first, which say nothing of how
it fares beside that one. The champion's requests without a unit while an experiment is under way have a third, `<model>-v7-without-unit`:
no evidence of the experiment, but of how the champion serves.

    >>> from perennial.serving.envoy import cluster_name
    >>> cluster_name("churn", 7)
    'churn-v7'
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perennial import tracing
from perennial.serving import envoy_open_inference as open_inference
from perennial.serving.assignment import UNIT, UNIT_PATTERN, salted
from perennial.serving.gateway_traces import traced_gateway
from perennial.serving.limits import MAX_BODY_BYTES, MAX_FEEDBACK_BYTES, REPLAYED, RUN_HEADER
from perennial.serving.route import FRESH, Route
from perennial.settings import Settings
from perennial.sockets import socket_folder

Json = dict[str, Any]

ROUTES = "models"  # name of the route table and prefix of its statistics
VERSION_WANTED = "x-predictor"  # request header that addresses one version directly
PREDICTION_ID = "x-prediction-id"
HOST = "perennial"  # what servers get as host: a caller's could end as Envoy lets a mirrored request's end, in -shadow
MAX_REQUEST_BYTES = 2 * MAX_BODY_BYTES  # between the two the caller gets the server's sentence
PREDICTIONS = "api/v1.0/predictions"
FEEDBACK = "api/v1.0/feedback"
READY = "ready"
SERVER = {"name": "perennial", "extensions": []}  # what the gateway says of itself by the Open Inference Protocol
UPSTREAM_IDLE_SECONDS = 60  # below the servers' own 75
# Envoy counts whole milliseconds, so bounds between them are exact.
BUCKETS_MS = (
    0.5,
    1.5,
    2.5,
    3.5,
    4.5,
    5.5,
    6.5,
    7.5,
    8.5,
    9.5,
    12.5,
    15.5,
    20.5,
    25.5,
    30.5,
    40.5,
    50.5,
    75.5,
    100.5,
    150.5,
    250.5,
    500.5,
    1000.5,
    2500.5,
    5000.5,
    10000.5,
    30000.5,
    3_600_000.5,
)
# Of questions whether a version is ready, which are asked every few seconds.
UNTRACED = {name: {"numerator": 0} for name in ("client_sampling", "random_sampling", "overall_sampling")}
_TYPE = "type.googleapis.com/envoy."
_BUFFER = "envoy.filters.http.buffer"
_ALL_AGAIN = {"budget_percent": {"value": 100}, "min_retry_concurrency": 1024}
_BREAKERS: Json = {
    "thresholds": [
        {
            "max_connections": 1024,
            "max_pending_requests": 1024,
            "max_requests": 1024,
            "retry_budget": {"budget_percent": {"value": 25}, "min_retry_concurrency": 64},
        }
    ]
}


@dataclass(frozen=True)
class Served:
    """One model as the gateway sees it."""

    model: str
    prefix: str  # path below which it answers, with a slash at both ends
    timeout_seconds: float
    sockets: dict[int, Path]  # version -> socket of its server; also of versions that are leaving
    route: Route | None
    open_inference: bool = True  # whether its servers speak the Open Inference Protocol, which seldon-core's wrapper does not
    fallback: Path | None = None  # socket of what answers where versions fail


def folder(settings: Settings) -> Path:
    """Where Envoy's files are."""
    return settings.home / "envoy"


def admin_socket(settings: Settings) -> Path:
    """The socket of Envoy's admin interface. It can reconfigure and stop Envoy, so only this user can reach it."""
    return socket_folder(settings) / "gateway.sock"


def prepare(settings: Settings) -> Path:
    """Write the start-up file, and an empty set of clusters and routes if there is none; returns the start-up file's path."""
    place = folder(settings)
    place.mkdir(parents=True, exist_ok=True)
    for name, resources in (("cds", []), ("rds", [routes([], settings.host_names())])):
        if not (place / f"{name}.json").exists():
            write(settings, name, resources)
    _replace(place / "bootstrap.json", _bootstrap_text(settings))
    return place / "bootstrap.json"


def command(settings: Settings) -> list[str]:
    """How the gateway is started, after `prepare`. A changed start-up file changes the command: the supervisor starts the gateway anew."""
    digest = hashlib.sha256(_bootstrap_text(settings).encode()).hexdigest()[:12]
    return [
        str(settings.venv("tools") / "bin" / "envoy"),
        "-c",
        str(folder(settings) / "bootstrap.json"),
        "--service-node",
        f"gateway-{digest}",
        "--disable-hot-restart",
        "--concurrency",
        "2",
        "--log-level",
        "warning",
        *(["--log-format", _OWN_LINES] if settings.log_format == "json" else []),
    ]


# Of Envoy itself, as JSON by its own placeholders. `perennial up` has its clock in UTC.
_OWN_LINES = '{"schema": 1, "time": "%Y-%m-%dT%T.%fZ", "level": "%l", "logger": "envoy.%n", "message": "%j", "program": "gateway"}'


def _refused_requests() -> Json:
    """Access log as JSON of the requests that got no answer or one of an error; all others are in the prediction log."""
    line = {
        "schema": 1,
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
        "level": "WARNING",
        "logger": "gateway.requests",
        "message": "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):500% was answered with %RESPONSE_CODE% (%RESPONSE_CODE_DETAILS%).",
        "program": "gateway",
        "status": "%RESPONSE_CODE%",
        "milliseconds": "%DURATION%",
        "prediction": f"%REQ({PREDICTION_ID})%",
        "trace_id": "%TRACE_ID%",
    }
    error = {"op": "GE", "value": {"default_value": 400, "runtime_key": "perennial.logged_from"}}
    none = {"op": "EQ", "value": {"default_value": 0, "runtime_key": "perennial.logged_none"}}
    return {
        "name": "envoy.access_loggers.stderr",
        "filter": {"or_filter": {"filters": [{"status_code_filter": {"comparison": each}} for each in (error, none)]}},
        "typed_config": {
            "@type": f"{_TYPE}extensions.access_loggers.stream.v3.StderrAccessLog",
            "log_format": {"json_format": line, "omit_empty_values": True},
        },
    }


def _bootstrap_text(settings: Settings) -> str:
    return json.dumps(bootstrap(settings), indent=1)


def write(settings: Settings, name: str, resources: list[Json]) -> str:
    """Rename `cds` or `rds` into place unless it is there already; returns the version that Envoy shows once it has taken it up."""
    version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    path = folder(settings) / f"{name}.json"
    text = json.dumps({"version_info": version, "resources": resources}, indent=1)
    if not path.exists() or path.read_text() != text:
        _replace(path, text)
    return version


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def clusters(served: Iterable[Served], before: Mapping[str, Served] | None = None) -> list[Json]:
    """All clusters: two per running version, one of a fallback, and the aggregates of each model's route and of the one it had `before`."""
    by_name: dict[str, Json] = {}
    for model in served:
        for version, socket in sorted(model.sockets.items()):
            for name in (cluster_name(model.model, version), aside_name(model.model, version)):
                by_name[name] = _cluster(name, socket)
        for known in ((before or {}).get(model.model), model):
            if known is not None and known.fallback is not None:
                by_name[fallback_name(model.model)] = _cluster(fallback_name(model.model), known.fallback)
            if known is not None and (route := known.route) is not None:
                chains = [*_chains(known, route).values(), *([_chain_without_unit(known, route)] if route.salt is not None else [])]
                for name, members in chains:
                    if len(members) > 1:
                        by_name[name] = _aggregate(name, members, all_again=known.fallback is not None)
                if route.salt is not None:
                    name = without_unit_name(model.model, route.stable)
                    by_name[name] = _cluster(name, model.sockets[route.stable])
                for then in _stand_in(route):  # of outcomes
                    name = aggregate_name(aside_name(model.model, route.stable), then)
                    by_name[name] = _aggregate(name, [aside_name(model.model, route.stable), aside_name(model.model, then)])
    return [by_name[name] for name in sorted(by_name)]


def routes(served: Iterable[Served], hosts: frozenset[str]) -> Json:
    """The route table of all models, for callers who ask for the gateway by one of these names (`Settings.host_names`)."""
    models = sorted(served, key=lambda m: m.model)
    table = [route for model in models for route in _model_routes(model)]
    table += open_inference.of_the_gateway([model.model for model in models if model.route is not None], SERVER)
    strangers = {"name": "strangers", "domains": ["*"], "routes": [_refusal({"prefix": "/"}, 421, _UNKNOWN_HOST)]}
    return {
        "@type": f"{_TYPE}config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": ROUTES,
                "domains": ["*"] if "*" in hosts else sorted(hosts),
                "include_attempt_count_in_response": True,
                "request_body_buffer_limit": MAX_REQUEST_BYTES,  # a larger body could not be sent a second time
                # One id for a request however often it is tried and mirrored; a caller's own header must not repeat one.
                "request_headers_to_add": [
                    {"header": {"key": PREDICTION_ID, "value": "%UNIQUE_ID%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                ],
                "request_headers_to_remove": [REPLAYED, RUN_HEADER],
                "routes": [*_foreign_pages(hosts), *table, _refusal({"prefix": "/"}, 404, _NO_MODEL)],
            },
            *([] if "*" in hosts else [strangers]),
        ],
    }


_UNKNOWN_HOST = (
    "This gateway is not known by the name in the header Host: ask for it by the name of PERENNIAL_HOST or PERENNIAL_GATEWAY_URL, "
    "or add this one to PERENNIAL_ALLOWED_HOSTS and run `perennial up`."
)
_FOREIGN_PAGE = (
    "Pages of other sites may not ask this gateway: the header Origin names one. Ask from a program, "
    "or add the page's host to PERENNIAL_ALLOWED_HOSTS and run `perennial up`."
)
_NO_MODEL = "No model is served below this path: `perennial status` names those that are."


def _foreign_pages(hosts: frozenset[str]) -> list[Json]:
    """Routes that refuse what pages of other sites ask, none if every host may: such a page gets no answer, but would be recorded.

    Browsers name the page that asks, programs name none.
    """
    if "*" in hosts:
        return []
    own = "(?i)https?://(" + "|".join(re.escape(name) for name in sorted(hosts)) + ")(:[0-9]+)?"
    foreign = [
        {"name": "origin", "present_match": True},
        {"name": "origin", "string_match": {"safe_regex": {"regex": own}}, "invert_match": True},
    ]
    return [_refusal({"prefix": "/", "headers": foreign}, 403, _FOREIGN_PAGE)]


def _refusal(match: Json, status: int, sentence: str) -> Json:
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": sentence}}}


def cluster_name(model: str, version: int) -> str:
    """The cluster for prediction requests to one version."""
    return f"{model}-v{version}"


def aside_name(model: str, version: int) -> str:
    """The cluster for all requests to one version other than predictions."""
    return f"{cluster_name(model, version)}-aside"


def without_unit_name(model: str, champion: int) -> str:
    """The cluster for the champion's requests that are in no experiment while one is under way."""
    return f"{cluster_name(model, champion)}-without-unit"


def aggregate_name(cluster: str, then: int) -> str:
    """The cluster that tries `cluster` first and the version `then` where it does not answer."""
    return f"{cluster}-then-v{then}"


def fallback_name(model: str) -> str:
    """The cluster of what answers where versions fail."""
    return f"{model}-fallback"


def _chains(model: Served, route: Route) -> dict[int, tuple[str, list[str]]]:
    """For each version with traffic the cluster by which it is asked, and whom that asks in turn: it, its stand-in, the fallback."""
    pairs, chains = _pairs(route), {}
    for version in (route.stable, *_others(route)):
        chains[version] = _chain(model, cluster_name(model.model, version), pairs.get(version))
    return chains


def _chain_without_unit(model: Served, route: Route) -> tuple[str, list[str]]:
    """The same for an experiment's requests without a unit."""
    return _chain(model, without_unit_name(model.model, route.stable), next(iter(_stand_in(route)), None))


def _chain(model: Served, first: str, then: int | None) -> tuple[str, list[str]]:
    name, members = first, [first]
    if then is not None:
        name, members = aggregate_name(name, then), [*members, aside_name(model.model, then)]
    if model.fallback is not None:
        name, members = f"{name}-or-fallback", [*members, fallback_name(model.model)]
    return name, members


def _others(route: Route) -> list[int]:
    """The versions that get a share of the traffic beside the stable one, the greatest share first."""
    others = (v for v, weight in route.weights.items() if weight and v != route.stable)
    return sorted(others, key=lambda v: (v == FRESH, -route.weights[v], v))  # the champion's new process is no other version


def _pairs(route: Route) -> dict[int, int]:
    """Which version stands in for which: the stable one for all others, and the greatest other for the stable one and its new process."""
    others = _others(route)
    pairs = dict.fromkeys(others, route.stable)
    if others and route.weights[route.stable]:
        pairs[route.stable] = others[0]
    return {**pairs, **({FRESH: others[0]} if FRESH in pairs and others[0] != FRESH else {})}


def _stand_in(route: Route) -> list[int]:
    """The version that takes outcomes where the stable one does not answer (any version can); an empty list if there is no other."""
    others = [*_others(route), *(v for v in sorted(route.versions, reverse=True) if v != route.stable)]
    return others[:1]


def _cluster(name: str, socket: Path) -> Json:
    return {
        "@type": f"{_TYPE}config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},  # never send a request to a server that is not ready
            "update_merge_window": "0s",  # tell the workers of a server's health at once; by default up to a second after it is shown
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket)}}}}]}],
        },
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/ready"},
            }
        ],
        # No outlier detection: it would take a version away for answers that single requests provoke. Whether
        # a server is there say the checks.
        "circuit_breakers": _BREAKERS,
        "typed_extension_protocol_options": {
            f"{_TYPE.removeprefix('type.googleapis.com/')}extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_SECONDS}s"},
            }
        },
        "track_cluster_stats": {"per_endpoint_stats": True},
    }


def _aggregate(name: str, members: list[str], *, all_again: bool = False) -> Json:
    """A cluster that asks its members in turn; with a fallback every request may have to be asked again at once."""
    breakers = {"thresholds": [{**_BREAKERS["thresholds"][0], "retry_budget": _ALL_AGAIN}]} if all_again else _BREAKERS
    return {
        "@type": f"{_TYPE}config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "0.5s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": breakers,  # its own default would allow 3 retries at a time
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {"@type": f"{_TYPE}extensions.clusters.aggregate.v3.ClusterConfig", "clusters": members},
        },
    }


def _model_routes(model: Served) -> list[Json]:
    route = model.route
    if route is None:
        return []
    common: Json = {"timeout": f"{model.timeout_seconds:g}s", "host_rewrite_literal": HOST}
    shared: Json = {
        **common,
        "weighted_clusters": {"clusters": _weighted(model, route)},
        "retry_policy": _policy(model, max(len(members) for _, members in _chains(model, route).values()), has_other=bool(_pairs(route))),
    }
    if route.shadow is not None:
        shared["request_mirror_policies"] = [{"cluster": cluster_name(model.model, route.shadow)}]
    prefix, post, get = model.prefix, _is(":method", "POST"), _is(":method", "GET")
    # Which requests go which way, the first that fits: those of an experiment's units by their unit.
    # One that names a version which does not run gets none of another.
    anybody = [_lacks(VERSION_WANTED)]
    ways: list[tuple[list[Json], Json]] = [(anybody, shared)]
    if route.salt is not None:
        ways = [([*anybody, _is_unit()], _by_unit(shared, route.salt)), (anybody, {**common, **_without_unit(model, route)})]
    routes = []
    for path in (prefix, prefix.rstrip("/"), f"{prefix}{PREDICTIONS}"):
        rewrite = {"prefix_rewrite": f"/{PREDICTIONS}"}
        for version in route.versions:
            to = {**common, "cluster": aside_name(model.model, version), **rewrite}
            routes.append({"match": {"path": path, "headers": [post, _is(VERSION_WANTED, str(version))]}, "route": to})
        routes += [{"match": {"path": path, "headers": [post, *headers]}, "route": {**to, **rewrite}} for headers, to in ways]
    for version, wanted in (*((v, _is(VERSION_WANTED, str(v))) for v in route.versions), (route.stable, _lacks(VERSION_WANTED))):
        to = {**common, "cluster": aside_name(model.model, version), "prefix_rewrite": f"/{READY}"}
        routes.append({"match": {"path": f"{prefix}{READY}", "headers": [get, wanted]}, "route": to, "tracing": UNTRACED})
    if model.open_inference:
        routes += open_inference.model_routes(
            model.model, prefix, route, ways, lambda version: {**common, "cluster": aside_name(model.model, version)}, VERSION_WANTED
        )
    nothing = (
        f"Nothing answers this request: of {model.model} there are POST {prefix}{PREDICTIONS}, "
        f"POST {prefix}{FEEDBACK} and GET {prefix}{READY}, "
        f"for the header {VERSION_WANTED} with {', '.join(map(str, route.versions))} or none (docs/serving.md)."
    )
    refusals = [_refusal({"path_separated_prefix": prefix.rstrip("/")}, 404, nothing)]
    by_name = f"{prefix.rstrip('/').rpartition('/')[0]}/{model.model}"  # underscores, which no address of another backend can have
    if by_name != prefix.rstrip("/"):
        dashes = f"The path of {model.model} has dashes where its name has underscores: ask for {prefix}{PREDICTIONS} (docs/serving.md)."
        refusals.append(_refusal({"path_separated_prefix": by_name}, 404, dashes))
    return [*routes, _feedback(model, route, common), *refusals]


def _is_unit() -> Json:
    return {"name": UNIT, "string_match": {"safe_regex": {"regex": UNIT_PATTERN}}}


def _by_unit(shared: Json, salt: str) -> Json:
    """The route of an experiment's units: `perennial.serving.assignment` says which version each gets."""
    salts = {"pattern": {"regex": "^"}, "substitution": salted(salt)}
    return {
        **shared,
        "weighted_clusters": {**shared["weighted_clusters"], "use_hash_policy": True},
        "hash_policy": [{"header": {"header_name": UNIT, "regex_rewrite": salts}}],
    }


def _without_unit(model: Served, route: Route) -> Json:
    """The champion answers requests that are in no experiment, over a cluster of its own: the counters of the others are evidence."""
    name, members = _chain_without_unit(model, route)
    return {"cluster": name, "retry_policy": _policy(model, len(members), has_other=bool(_stand_in(route)))}


def _feedback(model: Served, route: Route, common: Json) -> Json:
    aside, stand_in = aside_name(model.model, route.stable), _stand_in(route)
    return {
        "match": {"path": f"{model.prefix}{FEEDBACK}", "headers": [_is(":method", "POST")]},
        "route": {
            **common,
            "cluster": aggregate_name(aside, stand_in[0]) if stand_in else aside,
            "prefix_rewrite": f"/{FEEDBACK}",
            "retry_policy": _retries(model.timeout_seconds if stand_in else None),  # an outcome that is stored twice counts once
        },
        "typed_per_filter_config": {
            _BUFFER: {
                "@type": f"{_TYPE}extensions.filters.http.buffer.v3.BufferPerRoute",
                "buffer": {"max_request_bytes": MAX_FEEDBACK_BYTES},
            }
        },
    }


def _is(header: str, value: str) -> Json:
    return {"name": header, "string_match": {"exact": value}}


def _lacks(header: str) -> Json:
    return {"name": header, "present_match": True, "invert_match": True}


def _weighted(model: Served, route: Route) -> list[Json]:
    """Shares in basis points.

    A version whose server is gone or hangs, or that cannot read a request, has a stand-in. After an answer of 5xx only the stable version
    stands in for another. A request that no version can answer shows as one error of the version it was given to, or the arms could
    not be compared.
    """
    again = [_header("x-envoy-retry-on", "5xx")]
    shares: list[Json] = []
    for version, (name, _) in _chains(model, route).items():
        shares.append(
            {
                "name": name,
                "weight": route.weights[version],
                **({} if version in (route.stable, FRESH) else {"request_headers_to_add": again}),
            }
        )
    return [entry for entry in shares if entry["weight"]]


def _header(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _policy(model: Served, members: int, *, has_other: bool) -> Json:
    """When a prediction is asked again, of whom `_chain` says."""
    policy = _retries_on_the_other(model.timeout_seconds) if has_other else _retries()
    if model.fallback is None:
        return policy
    share = f"{model.timeout_seconds / members:g}s"
    return {**policy, "retry_on": f"{policy['retry_on']},5xx", "num_retries": members - 1, "per_try_timeout": share}


def _retries_on_the_other(timeout_seconds: float) -> Json:
    """Try again also what the version could not read, once: there is one other, and each is to count a request once."""
    policy = _retries(timeout_seconds)
    return {**policy, "retry_on": f"{policy['retry_on']},retriable-status-codes", "retriable_status_codes": [400], "num_retries": 1}


def _retries(timeout_seconds: float | None = None) -> Json:
    """Try again what a server that went away left unanswered, on a version not tried yet; one that hangs is given half of the time."""
    return {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": 2,
        **({"per_try_timeout": f"{timeout_seconds / 2:g}s"} if timeout_seconds else {}),
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{_TYPE}extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }


def _sentences() -> Json:
    """The gateway's own error answers, in the form of the servers' refusals."""

    def where(operator: str, status: int) -> Json:
        return {"status_code_filter": {"comparison": {"op": operator, "value": {"default_value": status, "runtime_key": "unset"}}}}

    form = {"json_format": {"status": {"status": 1, "info": "%LOCAL_REPLY_BODY%", "code": -1, "reason": "GATEWAY"}}}
    large = (
        f"The request is larger than the {MAX_BODY_BYTES >> 20} MB of predictions, or the {MAX_FEEDBACK_BYTES >> 10} KB of an "
        "outcome, that a server takes: send several."
    )
    return {
        "mappers": [
            *open_inference.refusal_forms(large),
            {"filter": where("EQ", 413), "body": {"inline_string": large}, "body_format_override": form},
            {"filter": where("GE", 400), "body_format_override": form},
        ]
    }


def bootstrap(settings: Settings) -> Json:
    """Envoy's start-up file: its listener, its admin socket, and the paths of clusters and routes."""

    def watched(name: str) -> Json:
        return {
            "resource_api_version": "V3",
            "path_config_source": {"path": str(folder(settings) / name), "watched_directory": {"path": str(folder(settings))}},
        }

    traced = traced_gateway(*tracing.of_part(settings.home, "gateway"))
    manager = {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": ROUTES,
        "codec_type": "AUTO",
        "generate_request_id": False,
        "drain_timeout": "5s",
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "strip_any_host_port": True,  # names are known without ports
        "local_reply_config": _sentences(),
        **({"access_log": [_refused_requests()]} if settings.log_format == "json" else {}),
        **traced.manager,
        "rds": {"route_config_name": ROUTES, "config_source": watched("rds.json")},
        "http_filters": [
            *traced.filters,
            {
                "name": "envoy.filters.http.health_check",
                "typed_config": {
                    "@type": f"{_TYPE}extensions.filters.http.health_check.v3.HealthCheck",
                    "pass_through_mode": False,
                    "headers": [{"name": ":path", "string_match": {"exact": "/ready"}}],
                },
            },
            # Servers get whole requests only: a slow caller holds the gateway's memory, not a server's thread.
            *open_inference.filters(
                {
                    "name": _BUFFER,
                    "typed_config": {"@type": f"{_TYPE}extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": MAX_REQUEST_BYTES},
                }
            ),
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"}},
        ],
    }
    return {
        "node": {"id": "gateway", "cluster": "perennial"},
        "admin": {"address": {"pipe": {"path": str(admin_socket(settings)), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": watched("cds.json")},
        "stats_flush_interval": "1s",  # histograms are read no newer than this
        "stats_config": {"histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": list(BUCKETS_MS)}]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 5000,
                    },
                }
            ]
        },
        "static_resources": {
            **({"clusters": traced.clusters} if traced.clusters else {}),
            "listeners": [
                {
                    "name": ROUTES,
                    "address": {"socket_address": {"address": settings.host, "port_value": settings.gateway_port}},
                    "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
                }
            ],
        },
    }
