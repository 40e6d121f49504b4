"""One placement group, one actor per machine: the only file that imports Ray."""

# Ray's own annotations leave much unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportFunctionMemberAccess=false, reportPrivateUsage=false

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from opengrid.engines.ray.inside import machine
from opengrid.engines.ray.inside.scaling import Scaling, of_answer, of_status
from opengrid.engines.ray.inside.waiting import NodeView, model_nobody_has, of_any_model, why_waiting

cloudpickle.register_pickle_by_value(machine)

#: Calls to an actor whose node was out of reach for a moment wait beside the first one.
_CALLS = 8

_UNAVAILABLE_PAUSE_S = 0.5

#: How often Ray is asked why a gang waits.
_ASK_AGAIN_S = 1.0

#: Where the older autoscaler writes its status down.
_STATUS = b"__autoscaling_status"


class OtherVersion(Exception):
    """The cluster runs another version of Ray or of Python than this process."""


def join_cluster() -> None:
    """Become a driver of the cluster that this process was started in; OtherVersion when it is none for it."""
    try:
        ray.init(address="auto", log_to_driver=False, configure_logging=False)
    except RuntimeError as error:
        if not str(error).startswith("Version mismatch"):
            raise
        words = " ".join(str(error).split())
        raise OtherVersion(f"the cluster's head cannot run the driver with {sys.executable}: {words}") from error


@dataclass(frozen=True)
class Ended:
    """An actor that is certainly gone."""

    machine: int
    words: str


class Gang:
    """The machines of one attempt, each on a node of its own."""

    def __init__(self, bundles: Sequence[dict[str, float]]) -> None:
        self._bundles = list(bundles)
        self._group: Any = placement_group(self._bundles, strategy="STRICT_SPREAD")
        self._runs: dict[Any, int] = {}
        self._actors: dict[int, Any] = {}
        self._why, self._ask_at = "", 0.0
        self._idle_since: float | None = None

    def is_placed(self) -> bool:
        """Whether a node is reserved for every machine, those that replace lost ones included."""
        is_placed = placement_group_table(self._group).get("state") == "CREATED"
        if is_placed:
            self._idle_since = None
        return is_placed

    def why_waiting(self) -> str:
        """Return in words what the gang waits for; GPUs of a model that the cluster does not know are not insisted on.

        A gang of which something has been started keeps its machines, and so what it has asked for.
        """
        now = time.monotonic()
        if now < self._ask_at:
            return self._why
        there, doing = nodes(), scaling()
        if self._idle_since is None or doing.in_words():
            self._idle_since = now
        idle_s, self._ask_at = now - self._idle_since, now + _ASK_AGAIN_S
        self._why = why_waiting(self._bundles, there, doing, idle_s)
        if not self._actors and (model := model_nobody_has(self._bundles, there, doing, idle_s)):
            self._why = f"no machine or node type of the cluster names {model} GPUs: those of any model will do"
            remove_placement_group(self._group)
            self._bundles = of_any_model(self._bundles)
            self._group = placement_group(self._bundles, strategy="STRICT_SPREAD")
        return self._why

    def start(self, index: int, ticket: dict[str, object], program_url: str, digest: str, pem: str | None) -> None:
        """Start the agent of a machine; its end is told by `ended`."""
        former = self._actors.pop(index, None)
        if former is not None:  # of an agent that ended by itself: it holds the machine's part
            ray.kill(former)
        bundle = self._bundles[index]
        custom = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU")}
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
        actor = (
            ray.remote(machine.Machine)
            .options(
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                resources=custom or None,
                max_restarts=0,
                max_concurrency=_CALLS,
                scheduling_strategy=strategy,
            )
            .remote()
        )
        self._actors[index] = actor
        self._runs[actor.run.remote(ticket, program_url, digest, pem)] = index

    def ended(self, timeout_s: float) -> list[Ended]:
        """Return the agents that have ended since the last call, waiting a little for one; each is told once.

        A node that does not answer is no lost node: while Ray says "unavailable" it is asked again, until it is sure.
        """
        if not self._runs:
            time.sleep(timeout_s)
            return []
        done, _ = ray.wait(list(self._runs), timeout=timeout_s)
        found: list[Ended] = []
        for reference in done:
            index = self._runs.pop(reference)
            try:
                code, last = ray.get(reference)
            except ActorUnavailableError:
                time.sleep(_UNAVAILABLE_PAUSE_S)
                self._runs[self._actors[index].wait.remote()] = index
            except RayError as error:
                found.append(Ended(index, _first_line(error)))
            else:
                found.append(Ended(index, _how_it_ended(code, last)))
        return found

    def close(self) -> None:
        """Give everything back."""
        for actor in self._actors.values():
            ray.kill(actor)
        remove_placement_group(self._group)


def nodes() -> list[NodeView]:
    """Return the living nodes, with all they have."""
    return [
        NodeView(address=node["NodeManagerAddress"], resources=dict(node["Resources"]))
        for node in ray.nodes()
        if node["Alive"]
    ]


def scaling() -> Scaling:
    """Return what the autoscaler does; nothing where Ray does not tell, for these are parts that it may change."""
    try:
        status = _internal_kv_get(_STATUS)
        if status:
            return of_status(json.loads(status))
        return of_answer(get_cluster_status(ray.get_runtime_context().gcs_address))
    except Exception:  # noqa: BLE001 - a reason that says a little less
        return Scaling()


def ask_nodes(
    server: str, program_url: str, digest: str, pem: str | None, state: str, python: str, timeout_s: float
) -> list[dict[str, object]]:
    """Return what every node says about itself and the way to the server; of one that does not answer, that."""
    asked: list[tuple[str, Any]] = []
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            strategy = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            actor = ray.remote(machine.Machine).options(num_cpus=0, scheduling_strategy=strategy).remote()
            gpus = int(node["Resources"].get("GPU", 0))
            answer = actor.about.remote(server, gpus, program_url, digest, pem, state, python)
            asked.append((node["NodeManagerAddress"], answer))
    ray.wait([reference for _, reference in asked], num_returns=len(asked), timeout=timeout_s)
    answers: list[dict[str, object]] = []
    for address, reference in asked:
        try:
            answers.append({"address": address, **ray.get(reference, timeout=0)})
        except GetTimeoutError:
            answers.append({"address": address, "problem": f"it did not answer within {timeout_s:g} s"})
        except RayError as error:
            answers.append({"address": address, "problem": _first_line(error)})
    return answers


def _how_it_ended(code: int | None, last_words: str) -> str:
    if code is None:
        return f"its agent could not be started: {last_words}"
    return f"its agent ended with code {code}: {last_words}" if code else "its agent has ended"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
