"""Machines that may be taken away at any time, for less: what they are called. Pure."""

from __future__ import annotations

from opengrid.planning.catalogue import Catalogue, InstanceType, normal

#: The markets that a machine of a cluster may come from.
SPOT, ON_DEMAND = "spot", "on_demand"

#: Said where nothing comes from any market.
NO_MARKET = "machines of yours are not taken away by a market"

_SUFFIX = "_spot"


def spot_name(name: str) -> str:
    """Return what the spot machines of an instance type are called."""
    return name + _SUFFIX


def find_machine_type(name: str, catalogue: Catalogue) -> tuple[InstanceType, bool]:
    """Return the instance type that a machine type's name means, and whether it is the spot one."""
    is_spot = normal(name).endswith(_SUFFIX)
    return catalogue.find(name.strip()[: -len(_SUFFIX)] if is_spot else name), is_spot
