"""A server that dies and comes back under an open page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Browser, expect

from tests.support.grid import PATIENCE_S, Grid
from tests.ui.conftest import SCRIPTS
from tests.ui.looking import Viewer


def test_a_page_outlives_its_server_and_goes_on(browser: Browser, new_grid: Callable[[], Grid]) -> None:
    grid = new_grid()
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    viewer = Viewer(context.new_page(), grid)
    viewer.sign_in()
    page = viewer.page
    expect(page.get_by_text("No runs yet.")).to_be_visible()

    grid.kill_server()
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    expect(page.get_by_text("No runs yet.")).to_be_visible()
    page.get_by_role("link", name="Machines").click()  # a part of the page that is not loaded yet
    expect(page.get_by_text("Loading page…")).to_be_visible()

    grid.ok("server", "start")  # takes the port that it had
    expect(page.get_by_text("The server does not answer.")).to_be_hidden()
    expect(page.get_by_role("heading", name="Machines")).to_be_visible()
    page.get_by_role("link", name="Runs").click()
    grid.submit("--framework", "torch", "--name", "after-outage-1", str(SCRIPTS / "train.py"), "--steps", "1")
    expect(page.get_by_role("link", name="after-outage-1")).to_be_visible()
    context.close()
    assert viewer.complaints == []
