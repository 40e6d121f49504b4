"""Hosts and a head for the services above them: they do what they are told, or say that they cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opengrid.core.errors import Unauthorized, Unusable
from opengrid.core.records.clusters import Cluster, ClusterHosts
from opengrid.services.hosts import HostClusters

TOKEN = "f00d" * 12

LAB = Cluster(
    name="lab", engine="ray", address="", possible={}, work_dir="/w", python=None, user="ada", created_us=0,
    hosts=ClusterHosts(id="0badcafe", names=("a", "b", "c")),
)  # fmt: skip


class FakeBoxes:
    """Hosts by one letter, whose code is the end of their address."""

    def __init__(self) -> None:
        self.failing: dict[tuple[str, str], str] = {}
        self.about: dict[str, dict[str, object]] = {}
        self.orders: list[tuple[str, str]] = []
        self.joined = {"10.0.0.97", "10.0.0.98", "10.0.0.99"}
        self.needs_token = True

    def order(self, host: str, order: Mapping[str, Any], progress: Callable[[str], None] = print) -> dict[str, object]:
        self.orders.append((order["do"], host))
        if words := self.failing.get((order["do"], host)):
            raise Unusable(words, hint="look there")
        address = f"10.0.0.{ord(host)}"
        return {
            "look": {"address": address},
            "prepare": {"path": "/python", "python": "3.11.7", "ray": "2.60.0", "torch": None, "others": [7]},
            "start": {"gcs": f"{address}:6379", "dashboard": f"http://{address}:8265", "was_running": False},
            "status": {"problem": "the computer was restarted"},
            "stop": {},
        }[order["do"]] | self.about.get(host, {})

    def greet(self, address: str, token: str | None) -> str:
        if token is None and self.needs_token:
            raise Unauthorized("refused")
        return "2.60.0"

    def did(self, do: str) -> set[str]:
        return {host for done, host in self.orders if done == do}


def host_clusters(boxes: FakeBoxes) -> HostClusters:
    ticks = iter(range(0, 100000, 100))
    return HostClusters(
        boxes,
        greet=boxes.greet,
        living=lambda _, __: boxes.joined,
        home_url=lambda address: f"http://server-for-{address}:8285",
        ray="2.60.0",
        log_files=("raylet.out",),
        clock=lambda: float(next(ticks)),
    )
