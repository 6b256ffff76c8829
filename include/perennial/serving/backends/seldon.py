"""Serves on Kubernetes by Seldon Core 1: one SeldonDeployment for each model, which the operator turns into pods and traffic.

The object is the state: its annotation holds the exact route, and every write names the object that it rests on, so of two
writers one is told. Traffic is moved by writing the object; that it has moved is seen through the route itself, where each
server names its version, never from the object's status, which Seldon Core calls Available while it is stale.

The operator moves traffic only when every version of the object is ready. An idle version that is not would hold up all
others, so a change of traffic is written without such a version first, and with it once the traffic has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.errors import ServiceUnreachable
from perennial.serving.backends import seldon_v1
from perennial.serving.backends.observation import KeptInStore
from perennial.serving.backends.server_pod import read_template
from perennial.serving.backends.versions_in_pods import VersionsInPods
from perennial.serving.backends.written_route import name_of, ours, read_route
from perennial.serving.route import Route
from perennial.specs import ModelSpec
from perennial.store import open_store

Json = dict[str, Any]


class SeldonBackend(VersionsInPods):
    """Versions as predictors of a SeldonDeployment."""

    OBJECT, operator = seldon_v1.KIND, "the operator of Seldon Core"

    def apply(self, model: ModelSpec, route: Route) -> None:
        """See `Backend.apply`. Returns once the traffic has moved, if the versions that are to have it are ready."""
        template = read_template(self.settings)
        live = self._live(model)
        now = None if live is None else read_route(live)
        if live is not None and now is None:
            raise ServiceUnreachable(
                f"There is a SeldonDeployment {name_of(model)} in the namespace {self.api.namespace} that Perennial "
                "has not made: delete it, or rename the model."
            )
        if live is None or now is None:
            self._write(live, seldon_v1.render(model, route, self.api.namespace, template))
            return
        can_move = self.versions_ready(model, [version for version, weight in route.weights.items() if weight])
        traffic = _without_idle(route)
        if can_move and traffic != _without_idle(now):
            not_ready = [version for version, weight in route.weights.items() if not weight and not self.versions_ready(model, [version])]
            if not_ready:
                live = self._write(live, seldon_v1.render(model, _without(route, not_ready), self.api.namespace, template))
                self.wait_taken_up(model, _with_share(now), _with_share(route))
        self._write(live, seldon_v1.render(model, route, self.api.namespace, template))
        if can_move:
            self.wait_taken_up(model, _with_share(now), _with_share(route))

    def route(self, model: ModelSpec) -> Route | None:
        """See `Backend.route`."""
        live = self._live(model)
        return None if live is None else read_route(live)

    def reset(self, model: ModelSpec) -> None:
        """See `Backend.reset`. Returns once no version answers any more and its Deployments are on their way out."""
        self.api.delete(seldon_v1.PLURAL, name_of(model))
        self.wait_gone(model)
        KeptInStore(open_store(self.settings.store), model.name).forget()

    def _live(self, model: ModelSpec) -> Json | None:
        return self.api.find(seldon_v1.PLURAL, name_of(model))

    def _write(self, live: Json | None, wanted: Json) -> Json:
        """Make an object what was rendered, unless somebody else has changed it since it was read."""
        return self.api.write_if_unchanged(seldon_v1.PLURAL, live, wanted, same=seldon_v1.same, ours=ours)


def _without_idle(route: Route) -> tuple[dict[int, int], int | None]:
    return seldon_v1.percents({version: weight for version, weight in route.weights.items() if weight}), route.shadow


def _with_share(route: Route) -> set[int]:
    return {version for version, weight in route.weights.items() if weight}


def _without(route: Route, versions: Sequence[int]) -> Route:
    """The route without some idle versions."""
    champion = None if route.champion in versions else route.champion
    return Route({v: weight for v, weight in route.weights.items() if v not in versions}, route.shadow, route.digests, champion)
