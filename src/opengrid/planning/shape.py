"""What a request comes down to before it is laid out: a machine type, GPUs, and what stands in for them."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.planning import layout
from opengrid.planning.catalogue import InstanceType
from opengrid.planning.inventory import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One experiment's size."""

    kind: InstanceType
    gpus: int = 0  #: 0 on CPU machines
    simulated: bool = False
    real: tuple[Accelerator, ...] = ()  #: accelerators that may stand in: at least `gpus` of them, or none

    @property
    def machines(self) -> int:
        """Number of machines."""
        return layout.machines_for(self.gpus, self.kind.gpus) if self.gpus else 1

    @property
    def gpus_per_node(self) -> int:
        """GPUs of each node."""
        return layout.gpus_per_node(self.gpus, self.kind.gpus) if self.gpus else 0

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.gpus // self.gpus_per_node if self.gpus else 1

    @property
    def nodes_per_machine(self) -> int:
        """Nodes on the fullest machine."""
        return layout.nodes_per_machine(self.gpus, self.kind.gpus) if self.gpus else 1

    @property
    def idle_gpus(self) -> int:
        """GPUs of the machines that the experiment leaves unused."""
        return self.machines * self.kind.gpus - self.gpus
