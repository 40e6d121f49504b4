"""Every view is an address: it can be sent, loaded again, and gone back to."""

from __future__ import annotations

from urllib.parse import urlencode

from playwright.sync_api import expect

from tests.support.grid import eventually
from tests.support.repositories import HOST
from tests.ui.looking import Viewer

ARGUMENTS = "--format %25d --share 100%"


def test_what_is_typed_into_the_dialog_is_in_the_address_and_read_from_it_as_it_was(viewer: Viewer) -> None:
    said = {"new": 1, "link": f"{HOST}/demo/blob/main/src/train.py", "arguments": ARGUMENTS}
    page = viewer.go(f"/machines?{urlencode(said)}")
    form = page.get_by_role("form", name="New run")
    expect(form.get_by_label("Script arguments")).to_have_value(ARGUMENTS)
    form.get_by_label("Run name").fill("typed-1")
    form.get_by_label("Environment variables").fill("TOKEN=secret")
    page.wait_for_url("**name=typed-1**")
    page.reload()
    expect(form.get_by_label("Run name")).to_have_value("typed-1")
    expect(form.get_by_label("Script arguments")).to_have_value(ARGUMENTS)
    assert "secret" not in page.url
    page.get_by_role("button", name="Close").click()
    page.wait_for_url("**/machines")


def test_who_goes_back_to_a_list_finds_it_where_it_was(viewer: Viewer, examples: None) -> None:
    page = viewer.page
    page.set_viewport_size({"width": 1440, "height": 240})
    page.goto(f"{viewer.origin}/runs?search=shown&sort=created_at")
    runs = page.get_by_role("region", name="Runs")
    page.get_by_role("link", name="shown-failure-1").click()
    expect(page.get_by_role("heading", name="shown-failure-1")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name="shown-failure-1")).to_be_visible()
    eventually(lambda: runs.evaluate("list => list.scrollTop") > 0)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Runs").click()
    expect(page.get_by_role("link", name="shown-sweep-1")).to_be_visible()
