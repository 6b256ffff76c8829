"""Moves a model's traffic from the route that is applied to another one, so that no request is lost on the way.

>>> from perennial.serving.route import Route
>>> from perennial.serving.traffic import with_idle
>>> with_idle(Route({7: 10_000}, None, {7: "0" * 64}, champion=7), {8: "1" * 64}).weights
{8: 0, 7: 10000}
"""

from __future__ import annotations

from collections.abc import Mapping

from perennial import tracing
from perennial.serving.backends import Backend
from perennial.serving.route import Route
from perennial.specs import ModelSpec


def move(backend: Backend, model: ModelSpec, route: Route) -> None:
    """Make `route` the model's route. Repeating it changes nothing; a call that was killed is completed by the next one.

    A version that is to get traffic and had none is started and waited for first; a version that leaves is stopped only
    after its traffic has gone elsewhere.

    Raises:
        ReleaseRefused: a version that is to get traffic fails its golden rows.
        ServiceUnreachable: it is not ready in time, or the servers cannot be reached.
    """
    shares = ", ".join(f"{version}: {weight / 100:g} %" for version, weight in route.weights.items())
    with tracing.span("move traffic", model=model.name, weights=shares):
        _move(backend, model, route)


def _move(backend: Backend, model: ModelSpec, route: Route) -> None:
    now = backend.route(model)
    if now is None:
        backend.apply(model, route)
        for version, weight in route.weights.items():
            if weight:
                backend.wait_ready(model, version, model.serving.start_seconds)
        return
    rising = [version for version, weight in route.weights.items() if weight and not now.weights.get(version)]
    if rising:
        _apply_unless(backend, model, with_idle(now, {version: route.digests[version] for version in rising}))
        for version in rising:
            backend.wait_ready(model, version, model.serving.start_seconds)
    leaving = [version for version in now.versions if version not in route.versions]
    if leaving:
        backend.apply(model, with_idle(route, {version: now.digests[version] for version in leaving}))
    backend.apply(model, route)


def with_idle(route: Route, digests: Mapping[int, str]) -> Route:
    """The route with further versions added that run but get no traffic, each with the digest of its folder."""
    weights = {**dict.fromkeys(digests, 0), **route.weights}
    shadow = None if route.shadow in digests else route.shadow
    return Route(weights, shadow, {**digests, **route.digests}, route.champion, route.salt)


def _apply_unless(backend: Backend, model: ModelSpec, route: Route) -> None:
    if backend.route(model) != route:
        backend.apply(model, route)
