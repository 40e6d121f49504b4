"""Logs: of all ranks or one, searched, and the first error found."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.grid import Grid
from tests.ui.looking import Viewer

ECHO = """
import sys, time
from pathlib import Path
asked, heard = Path(sys.argv[1]), ""
while heard != "last":
    line = asked.read_text() if asked.exists() else ""
    if line != heard:
        print("heard:", line, flush=True)
        heard = line
    time.sleep(0.05)
"""


def test_a_rank_is_chosen_and_a_line_found(viewer: Viewer, examples: None) -> None:
    page = viewer.go("/experiments/shown-sweep-1-exp0?tab=logs")
    log = page.get_by_role("log")
    expect(log.get_by_text("step 50")).to_have_count(2)
    page.get_by_role("combobox", name="Rank").click()
    page.get_by_role("option", name="Rank 1").click()
    page.wait_for_url("**rank=1**")
    expect(log.get_by_text("step 50")).to_have_count(1)
    page.get_by_label("Search the log").fill("step 30")
    page.keyboard.press("Enter")
    expect(log.locator("[data-marked]")).to_contain_text("step 30")
    page.reload()  # the address leads to the line
    expect(log.locator("[data-marked]")).to_contain_text("step 30")
    page.get_by_label("Search the log").fill("there is no such line")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing further down")).to_be_visible()
    page.get_by_label("Search the log").fill(r"^STEP 4\d\b")
    page.get_by_role("button", name="Regular expression").click()
    page.get_by_label("Search the log").press("Enter")
    expect(log.locator("[data-marked]")).to_contain_text("step 40")
    page.get_by_role("button", name="Match case").click()
    page.get_by_label("Search the log").press("Enter")
    expect(page.get_by_text("Nothing further down")).to_be_visible()
    page.get_by_label("Search the log").fill("(")
    page.get_by_label("Search the log").press("Enter")
    expect(page.get_by_text("is no regular expression: missing )")).to_be_visible()


def test_the_first_error_is_one_click_away(viewer: Viewer, examples: None) -> None:
    page = viewer.go("/experiments/shown-failure-1-exp0?tab=logs")
    page.get_by_role("button", name="First error").click()
    expect(page.get_by_role("log").locator("[data-marked]")).to_contain_text("Traceback")


def test_lines_appear_as_they_are_printed(viewer: Viewer, grid: Grid) -> None:
    # The script prints a line whenever the test asks for it, by a file.
    asked = grid.cwd / "asked"
    script = grid.cwd / "echo.py"
    script.write_text(ECHO)
    name = grid.submit("--framework", "torch", "--name", "followed-1", "--localdir", str(script), str(asked))
    page = viewer.go(f"/experiments/{name}?tab=logs")
    for line in ("first of all", "second to that", "last"):
        asked.write_text(line)
        expect(page.get_by_role("log").get_by_text(f"heard: {line}")).to_be_visible()
    expect(page.locator('[data-state="succeeded"]')).to_be_visible()
