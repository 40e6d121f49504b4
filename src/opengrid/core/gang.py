"""How an experiment lies on machines: Node, Gang, Plan. Values only; planning.layout computes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue
from opengrid.core.mounts import Mount, text_of
from opengrid.core.spec import Place


class InvalidGang(InvalidValue):
    """The parts of a gang contradict one another."""

    code = "invalid_gang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An equal share of a gang: some CPUs and GPUs of one machine (what torch calls a node)."""

    index: int  #: position in the gang, torch's GROUP_RANK
    machine: int  #: index of the machine that holds it
    gpus: int  #: 0 on CPU machines
    cpus: int  #: reserved, no ceiling
    ranks: int  #: processes started on it, torch's LOCAL_WORLD_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlace:
    """Where one rank runs."""

    rank: int
    local_rank: int
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The nodes that one attempt needs at the same time, all or none."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise InvalidGang("a gang needs at least 1 node")
        first = self.nodes[0]
        for position, node in enumerate(self.nodes):
            if (node.gpus, node.cpus, node.ranks) != (first.gpus, first.cpus, first.ranks):
                raise InvalidGang(f"node {position} differs from node 0: all nodes of a gang are equal")
            if node.index != position or node.machine < 0 or node.ranks < 1:
                raise InvalidGang(f"node {position} has index {node.index}, machine {node.machine}, ranks {node.ranks}")
        if sorted({node.machine for node in self.nodes}) != list(range(self.machines)):
            raise InvalidGang("machines must be numbered from 0 without gaps")

    @property
    def machines(self) -> int:
        """Number of machines."""
        return max(node.machine for node in self.nodes) + 1

    @property
    def world_size(self) -> int:
        """Number of ranks over all nodes."""
        return sum(node.ranks for node in self.nodes)

    @property
    def ranks_per_node(self) -> int:
        """Number of ranks on each node."""
        return self.nodes[0].ranks

    def nodes_of(self, machine: int) -> tuple[Node, ...]:
        """Return the nodes that lie on one machine, in order."""
        return tuple(node for node in self.nodes if node.machine == machine)

    def gpus_of(self, machine: int) -> int:
        """Return the number of GPUs that the gang uses on one machine."""
        return sum(node.gpus for node in self.nodes_of(machine))

    def ranks(self, machine: int | None = None) -> Iterator[RankPlace]:
        """Yield the places of all ranks, or of one machine's, in rank order."""
        for node in self.nodes:
            if machine is None or node.machine == machine:
                for local in range(node.ranks):
                    yield RankPlace(rank=node.index * node.ranks + local, local_rank=local, node=node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What one machine of a gang takes of a machine of a cluster."""

    cpus: int
    gpus: int = 0
    accelerator: str = ""  #: model that its GPUs must be of; "" = any
    market: str = ""  #: that the machine must come from: spot, on_demand; "" = any


def bundles_of(gang: Gang, *, simulated: bool = False, accelerator: str = "", market: str = "") -> tuple[Bundle, ...]:
    """Return what each machine of a gang takes, in order; simulated GPUs take CPUs only."""
    return tuple(
        Bundle(
            cpus=sum(node.cpus for node in gang.nodes_of(machine)),
            gpus=0 if simulated else gang.gpus_of(machine),
            accelerator="" if simulated else accelerator,
            market=market,
        )
        for machine in range(gang.machines)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will run where, and what it costs: the same value for a dry run, the API, the dialog and the real run."""

    gang: Gang  #: one experiment's
    instance_type: str  #: nickname as in the catalogue, or `local`
    gpus: int  #: per experiment
    experiments: int
    simulated: bool  #: GPUs are stood in for by CPU ranks
    price_per_hour: float  #: list price of all machines of one experiment, US dollars
    cost_per_hour: float = 0.0  #: what they really cost: nothing where they are simulated, or somebody's own
    python: str | None  #: interpreter of the ranks; None where the program needs none
    source: str  #: one line: what code runs
    reason: str  #: why this layout, and what the user should know; "" when nothing is remarkable
    preload: tuple[str, ...] = ()  #: modules that the ranks' template has imported
    packages: str = ""  #: what names the packages that ranks need beside the interpreter's, "" when nothing does
    place: Place | None = None  #: where the link led, for a run from one
    mounts: tuple[Mount, ...] = ()  #: datastore versions that every experiment sees
    devices: str = ""  #: the real accelerators that stand in, "" when simulated or on CPU machines
    cluster: str = "local"  #: whose machines they are
    accelerator: str = ""  #: model that the cluster's GPUs must be of; "" = any
    market: str = ""  #: that the cluster's machines must come from: spot, on_demand; "" = any
    counted: bool | None = None  #: whether the cluster only counts GPUs that are not there; None: no machine has told

    @property
    def is_simulated(self) -> bool:
        """Whether CPU ranks stand in for GPUs, as was planned or as turned out when its machines came."""
        return self.simulated or self.counted is True

    @property
    def machines(self) -> int:
        """Machines of one experiment."""
        return self.gang.machines

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """What each machine takes of a cluster's, in order."""
        return bundles_of(self.gang, simulated=self.simulated, accelerator=self.accelerator, market=self.market)

    def to_wire(self) -> dict[str, object]:
        """Return the `plan` object of the stable JSON output, with the layout in full."""
        node = self.gang.nodes[0]
        return {
            "cluster": self.cluster,
            "machines": self.gang.machines,
            "instance_type": self.instance_type,
            "nodes": len(self.gang.nodes),
            "gpus": self.gpus,
            "gpus_per_node": node.gpus,
            "cpus_per_node": node.cpus,
            "ranks_per_node": node.ranks,
            "world_size": self.gang.world_size,
            "experiments": self.experiments,
            "price_per_hour": round(self.price_per_hour, 4),
            "cost_per_hour": round(self.cost_per_hour, 4),
            "simulated": self.is_simulated,
            "devices": self.devices,
            "python": self.python,
            "source": self.source,
            "packages": self.packages,
            "link": None if self.place is None else dataclasses.asdict(self.place),
            "reason": self.reason,
            "mounts": [{"name": m.name, "version": m.version, "path": m.path, "text": text_of(m)} for m in self.mounts],
            "layout": [[n.index for n in self.gang.nodes_of(m)] for m in range(self.gang.machines)],
        }
