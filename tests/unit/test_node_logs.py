"""Lines of an engine's own logs, merged by time."""

from __future__ import annotations

import pytest

from opengrid.cli.cluster_logs import parse_time
from opengrid.core.errors import InvalidValue
from opengrid.planning.node_logs import NodeLog, merged

#: 2026-11-25 19:00:00 UTC
AT_US = 1_795_633_200_000_000

HEAD = NodeLog(
    host="box1",
    file="gcs_server.out",
    lines=[
        "[2026-11-25 19:00:01,500 I 12 12] (gcs_server) node added",
        "  with 4 GPUs",
        "",
        "[2026-11-25 19:00:03,000 I] x",
    ],
    utc_offset_s=0,
)
NODE = NodeLog(host="box2", file="raylet.err", lines=["2026-11-25 21:00:02,000\tERROR no memory"], utc_offset_s=7200)


def texts(**options: int | None) -> list[str]:
    chosen = {"since_us": None, "until_us": None, "limit": 10, **options}
    return [line.text for line in merged([HEAD, NODE], **chosen)]  # type: ignore[arg-type]


def test_lines_of_all_machines_are_in_the_order_of_time_whatever_their_clocks_zone() -> None:
    assert texts() == [*HEAD.lines[:2], NODE.lines[0], HEAD.lines[3]]


def test_a_line_without_a_time_stays_with_the_one_before() -> None:
    assert texts(since_us=AT_US + 1_500_000, until_us=AT_US + 1_600_000) == list(HEAD.lines[:2])


def test_the_newest_lines_are_kept() -> None:
    assert texts(limit=2) == [NODE.lines[0], HEAD.lines[3]]


def test_times_are_points_or_so_long_ago() -> None:
    assert parse_time("2026-11-25T19:00:00Z", 0) == AT_US
    assert parse_time("2h", 10_000) == 2_800_000_000
    assert parse_time("30m ago", 10_000) == 8_200_000_000
    for text in ("yesterday", "", "5 parsecs"):
        with pytest.raises(InvalidValue):
            parse_time(text, 0)
