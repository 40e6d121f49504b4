"""The machines that can be asked for, as rows."""

from __future__ import annotations

from opengrid.planning.catalogue import LOCAL, Catalogue
from opengrid.planning.inventory import Inventory, in_words


def instance_type_rows(catalogue: Catalogue, inventory: Inventory) -> list[dict[str, object]]:
    """Return this computer, then every type of the catalogue in its order."""
    here: dict[str, object] = {
        "name": LOCAL,
        "cloud": inventory.hostname,
        "on_demand": 0.0,
        "spot": None,
        "cpus": inventory.cpus,
        "gpus": len(inventory.accelerators),
        "memory_gb": round(inventory.memory_mib / 1024),
        "accelerator": in_words(inventory.accelerators),
    }
    return [
        here,
        *(
            {
                "name": kind.name,
                "cloud": kind.cloud,
                "on_demand": kind.on_demand,
                "spot": kind.spot,
                "cpus": kind.cpus,
                "gpus": kind.gpus,
                "memory_gb": kind.memory_gb,
                "accelerator": kind.accelerator,
            }
            for kind in catalogue.types
        ),
    ]
