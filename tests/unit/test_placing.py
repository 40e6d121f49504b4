"""Where artifacts lie beside one another."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from opengrid.cli.progress import progress_text
from opengrid.core.placing import place_files


def test_a_path_of_one_node_is_its_own_place() -> None:
    assert place_files([(1, "a/b"), (0, "c")]) == ["a/b", "c"]


def test_of_several_nodes_the_first_one_has_the_plain_path() -> None:
    assert place_files([(2, "x"), (0, "x"), (1, "x"), (2, "y"), (1, "y")]) == [
        "node2/x",
        "x",
        "node1/x",
        "node2/y",
        "y",
    ]


def test_a_file_where_another_has_a_folder_lies_below_its_node() -> None:
    assert place_files([(0, "a/b"), (1, "a")]) == ["a/b", "node1/a"]
    assert place_files([(0, "a"), (1, "a/b")]) == ["a", "node1/a/b"]
    assert place_files([(0, "a"), (0, "a/b")]) == ["a", "node0/a/b"]


def test_a_place_that_is_taken_by_such_a_name_is_left_to_it() -> None:
    assert place_files([(0, "x"), (0, "node1/x"), (1, "x")]) == ["x", "node1/x", "node1_/x"]


_PATHS = st.lists(st.sampled_from(["a", "b", "node0", "node1", "node1_"]), min_size=1, max_size=3).map("/".join)


@given(st.sets(st.tuples(st.integers(0, 2), _PATHS), max_size=12))
def test_no_two_files_are_in_one_place_and_none_is_below_another(files: set[tuple[int, str]]) -> None:
    given_files = sorted(files)
    placed = place_files(given_files)
    assert len(set(placed)) == len(placed)
    folders = {str(folder) for path in placed for folder in PurePosixPath(path).parents}
    assert folders.isdisjoint(placed)
    assert all(place.endswith(path) for place, (_, path) in zip(placed, given_files, strict=True))


def test_the_bar_says_how_much_how_fast_and_how_long() -> None:
    assert progress_text(0, 0, 0, 0) == f"[{'#' * 24}] 0 B of 0 B"
    half = f"[{'#' * 12}{'.' * 12}] 1.0 GiB of 2.0 GiB"
    assert progress_text(1 << 30, 2 << 30, 0, 9) == half
    assert progress_text(1 << 30, 2 << 30, 256 << 20, 64) == f"{half}  4.0 MiB/s  4:16 left"
    assert progress_text(1 << 30, 2 << 30, 1 << 20, 10) == f"{half}  102.4 KiB/s  2:50:40 left"
