"""engines.ray.inside.driver: what it starts and tells, against a cluster and a server that the test plays."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from opengrid.core.protocol import GangOrders, GangReport

pytest.importorskip("ray", reason="Ray is not installed here")
driver: Any = importlib.import_module("opengrid.engines.ray.inside.driver")
inside: Any = importlib.import_module("opengrid.engines.ray.inside.gang")


def orders(*starts: int, released: bool = False, is_told: bool = True) -> GangOrders:
    etag = f"{starts} {released} {is_told}"
    return GangOrders(etag=etag, starts=starts, released=released, token="t", is_told=is_told)


class Gang:
    """Two machines that are there at once."""

    def __init__(self) -> None:
        self.placed, self.started, self.is_closed = True, list[int](), False
        self.to_end: list[tuple[int, str]] = []

    def is_placed(self) -> bool:
        return self.placed

    def why_waiting(self) -> str:
        return "waits for 2 machines"

    def start(self, index: int, *_: object) -> None:
        self.started.append(index)

    def ended(self, timeout_s: float) -> list[Any]:
        ended, self.to_end = self.to_end, []
        return [inside.Ended(index, words) for index, words in ended]

    def close(self) -> None:
        self.is_closed = True


class Server:
    """Gives the orders of a script, one a look; each step may do something before."""

    def __init__(self, *script: GangOrders | Callable[[], GangOrders | None] | None) -> None:
        self.script, self.reports, self.away, self.is_deaf = list(script), list[GangReport](), 0.0, False

    def newest(self) -> GangOrders | None:
        step = self.script.pop(0)
        return step() if callable(step) else step

    def away_s(self) -> float:
        return self.away

    def report(self, report: GangReport) -> bool:
        if not self.is_deaf:
            self.reports.append(report)
        return not self.is_deaf


def drive(server: Server, gang: Gang) -> None:
    agents = driver._Agents(attempt="a-1", url="http://s", digest="ab", pem=None, state_dir="/w/agents")
    assert driver._Driver(server, gang, agents, 2).run(server.newest()) == 0
    assert gang.is_closed


def test_each_agent_is_started_as_often_as_ordered_and_what_changed_is_told_once() -> None:
    gang = Gang()

    def one_dies() -> GangOrders:
        gang.to_end = [(1, "killed")]
        return orders(1, 1)

    server = Server(orders(1, 1), orders(1, 1), one_dies, orders(1, 1), orders(1, 2), orders(1, 2), None)
    drive(server, gang)
    assert gang.started == [0, 1, 1]
    assert [(report.started, report.gone) for report in server.reports] == [
        ((1, 1), (None, None)),
        ((1, 1), (None, "killed")),
        ((1, 2), (None, None)),
    ]


def test_a_server_that_was_restarted_is_told_again_how_the_gang_stands() -> None:
    gang = Gang()
    gang.to_end = [(1, "killed")]  # of which the former server heard, but did nothing before it died
    server = Server(orders(1, 1), orders(1, 1), *[orders(1, 1, is_told=False)] * 3, None)
    drive(server, gang)
    assert [report.gone for report in server.reports] == [(None, "killed"), (None, "killed")]


def test_a_server_that_orders_a_machine_anew_hears_what_that_waits_for() -> None:
    gang = Gang()

    def is_lost() -> GangOrders:
        gang.to_end, gang.placed = [(1, "killed")], False
        return orders(1, 1)

    server = Server(orders(1, 1), is_lost, orders(1, 1), orders(1, 2), orders(1, 2), None)
    drive(server, gang)
    told = [(report.gone, report.reason) for report in server.reports]
    assert told == [((None, None), ""), *[((None, "killed"), "waits for 2 machines")] * 2]


def test_what_a_deaf_server_did_not_hear_is_said_again() -> None:
    gang = Gang()

    def hears() -> GangOrders:
        server.is_deaf = False
        return orders(1, 1)

    server = Server(orders(1, 1), orders(1, 1), hears, None)
    server.is_deaf = True
    drive(server, gang)
    assert len(server.reports) == 1


def test_nothing_is_started_before_all_machines_are_there_and_why_is_told() -> None:
    gang = Gang()
    gang.placed = False

    def comes() -> GangOrders:
        gang.placed = True
        return orders(1, 1)

    server = Server(orders(1, 1), comes, None)
    drive(server, gang)
    assert [(report.started, report.placed, report.reason) for report in server.reports] == [
        ((0, 0), False, "waits for 2 machines"),
        ((1, 1), True, ""),
    ]


def test_a_released_gang_ends_with_its_last_agent() -> None:
    gang = Gang()

    def both_end() -> GangOrders:
        gang.to_end = [(0, "its agent has ended"), (1, "its agent has ended")]
        return orders(1, 1, released=True)

    server = Server(orders(1, 1), orders(1, 1, released=True), both_end, orders(1, 1, released=True))
    drive(server, gang)
    assert server.script == []


def test_machines_on_which_nothing_runs_are_given_back_when_the_server_is_gone_for_good() -> None:
    gang = Gang()

    def goes_away() -> GangOrders:
        server.away = 2 * driver._FORGOTTEN_S
        return orders(1, 1)

    def agents_give_up() -> GangOrders:
        gang.to_end = [(0, "no server"), (1, "no server")]
        return orders(1, 1)

    server = Server(orders(1, 1), goes_away, agents_give_up, orders(1, 1))
    drive(server, gang)
    assert server.script == []  # not while one of them was at work
