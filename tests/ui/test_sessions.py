"""Getting in and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Browser, expect

from tests.support.grid import Grid
from tests.ui.looking import Viewer


def test_a_link_signs_in_once_and_others_are_told_how(browser: Browser, viewer: Viewer, grid: Grid) -> None:
    link: str = grid.json("view")["url"]
    first, second = browser.new_context().new_page(), browser.new_context().new_page()
    first.goto(link)
    first.wait_for_url("**/runs")
    second.goto(link)
    expect(second.get_by_role("heading", name="Sign in to OpenGrid")).to_be_visible()
    expect(second.get_by_text("grid view", exact=True)).to_be_visible()
    second.goto(f"{urlsplit(link).scheme}://{urlsplit(link).netloc}/machines")
    expect(second.get_by_role("heading", name="Sign in to OpenGrid")).to_be_visible()
    first.context.close()
    second.context.close()


def test_who_signs_out_is_out(viewer: Viewer) -> None:
    page = viewer.page
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to OpenGrid")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in to OpenGrid")).to_be_visible()
