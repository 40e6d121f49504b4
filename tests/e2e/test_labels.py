"""Labels: given to runs, shown, and what runs are chosen by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import Grid


@pytest.fixture(scope="module")
def labelled(new_grid: Any, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """A home with three runs, two of them labelled."""
    grid, folder = new_grid(), tmp_path_factory.mktemp("labels")
    (folder / "quick.py").write_text("pass")
    started = [
        grid.submit("--name", name, "--instance_type", "2_cpu_4gb", *labels, "quick.py", cwd=folder)
        for name, labels in (
            ("first", ("--label", "team=vision", "--label", "note=a b=c")),
            ("second", ("--label", "team=speech")),
            ("third", ()),
        )
    ]
    for name in started:
        grid.ended(name)
    return grid


def names(document: Any) -> list[str]:
    return [row["run"] for row in document["runs"]]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ((), ["third", "second", "first"]),
        (("team",), ["second", "first"]),
        (("team=vision",), ["first"]),
        (("note=a b=c", "team"), ["first"]),
        (("team=speech", "note"), []),
        (("nobody",), []),
    ],
)
def test_runs_are_chosen_by_their_labels(labelled: Grid, labels: tuple[str, ...], found: list[str]) -> None:
    asked = [word for label in labels for word in ("--label", label)]
    assert names(labelled.json("history", *asked)) == found
    assert names(labelled.json("status", *asked)) == []  # all have ended


def test_labels_are_shown_where_there_are_any(labelled: Grid) -> None:
    rows = {row["run"]: row["labels"] for row in labelled.json("history")["runs"]}
    assert rows == {"first": {"note": "a b=c", "team": "vision"}, "second": {"team": "speech"}, "third": {}}
    assert "note=a b=c team=vision" in labelled.ok("history")
    assert "Labels" not in labelled.ok("history", "--label", "nobody")
    assert "no run has these labels" in labelled.ok("history", "--label", "nobody")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--label", "team", "quick.py"), "a value is missing"),
        (("run", "--label", "a b=c", "quick.py"), "'a b' cannot be a label's key"),
        (("run", "--label", "a=1", "--label", "a=2", "quick.py"), "stands twice"),
        (("run", "--label", f"a={'x' * 256}", "quick.py"), "256 characters"),
        (("history", "--label", "=x"), "cannot be a label's key"),
        (("status", "--label", "a", "first"), "leave one of them out"),
    ],
)
def test_what_is_no_label_is_refused(labelled: Grid, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    (folder / "quick.py").write_text("pass")
    refused = labelled.call(*arguments, cwd=folder)
    assert (refused.code, said in refused.err) == (2, True), refused


def test_a_deleted_run_leaves_no_label(labelled: Grid) -> None:
    labelled.ok("delete", "run", "second", "--yes")
    assert names(labelled.json("history", "--label", "team")) == ["first"]
