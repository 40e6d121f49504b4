"""The list of runs, and the table of a run's experiments."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from playwright.sync_api import expect

from tests.support.grid import Grid
from tests.ui.conftest import SCRIPTS
from tests.ui.looking import Viewer


def test_runs_are_found_filtered_and_counted(viewer: Viewer, examples: None) -> None:
    page = viewer.go("/runs?state=failed")
    expect(page.get_by_role("link", name="shown-failure-1")).to_be_visible()
    expect(page.get_by_role("link", name="shown-sweep-1")).to_be_hidden()
    page.goto(f"{viewer.origin}/runs")
    page.get_by_label("Search runs").fill("sweep")
    page.wait_for_url("**search=sweep**")
    row = page.get_by_role("row").filter(has_text="shown-sweep-1")
    expect(row.get_by_role("cell").nth(5)).to_have_text("2")  # C: completed
    expect(page.get_by_role("link", name="shown-failure-1")).to_be_hidden()
    page.get_by_label("Search runs").fill("no run is called this")
    expect(page.get_by_text("No run matches.")).to_be_visible()


def test_chosen_runs_are_deleted_by_the_keyboard_alone(viewer: Viewer, grid: Grid) -> None:
    for number in (1, 2):
        grid.finish(
            "--framework", "torch", "--name", f"short-lived-{number}", str(SCRIPTS / "train.py"), "--steps", "1"
        )
    page = viewer.go("/runs?search=short-lived")
    page.get_by_label("Select short-lived-2").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Delete 2 runs?")).to_be_visible()
    expect(page.get_by_role("button", name="Delete 2 runs")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("No run matches.")).to_be_visible()
    assert "short-lived" not in grid.ok("history")


def test_the_table_sorts_by_a_metric_and_its_csv_is_the_apis(viewer: Viewer, examples: None, tmp_path: Path) -> None:
    page = viewer.go("/runs/shown-sweep-1?sort=metric%3Atrain%2Floss")
    table = page.get_by_role("table", name="Experiments")
    expect(table.get_by_role("row").nth(1)).to_contain_text("shown-sweep-1-exp1")  # the larger rate falls faster
    page.get_by_role("button", name="train/loss", exact=True).click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("shown-sweep-1-exp0")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    token = (viewer.grid.home / "token").read_text().strip()
    request = urllib.request.Request(
        f"{viewer.origin}/api/v1/runs/shown-sweep-1/table.csv?sort=metric:train/loss&order=desc",
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert (tmp_path / "table.csv").read_bytes() == answer.read()


def test_a_long_name_stands_whole_in_the_table_where_there_is_room(viewer: Viewer, grid: Grid) -> None:
    run = "a-name-as-long-as-those-that-scripts-make-of-all-their-parameters-" + "m" * 20
    grid.finish("--framework", "torch", "--name", run, str(SCRIPTS / "train.py"), "--steps", "1")
    viewer.page.set_viewport_size({"width": 1920, "height": 900})
    name = viewer.go(f"/runs/{run}?tab=experiments").get_by_role("table", name="Experiments").get_by_text(run)
    expect(name).to_be_visible()
    assert name.evaluate("name => name.scrollWidth <= name.clientWidth"), "it is cut"


def test_a_new_run_appears_by_itself_and_its_counts_move(viewer: Viewer, grid: Grid) -> None:
    page = viewer.go("/runs?search=appearing")
    expect(page.get_by_text("No run matches.")).to_be_visible()
    grid.submit("--framework", "torch", "--name", "appearing-1", str(SCRIPTS / "train.py"), "--steps", "1")
    row = page.get_by_role("row").filter(has_text="appearing-1")
    expect(row).to_be_visible()
    expect(row.locator('[data-state="succeeded"]')).to_be_visible()
