"""A small folder becomes a datastore in the browser: the same version that the command line makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.grid import Grid, eventually
from tests.ui.looking import Viewer


def versions(grid: Grid) -> set[str]:
    """Return the names of all versions, whole or not."""
    return {row["name"] for row in grid.json("datastore", "--show-incomplete")["datastores"]}


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder whose names sort otherwise in JavaScript, with an empty file and one of several parts."""
    folder = tmp_path / "flowers"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "\U0001d4b3 violet.txt").write_text("violet")
    (folder / "deep" / "\uffee rose.txt").write_text("rose")
    (folder / "again.txt").write_text("rose")
    (folder / "empty").touch()
    (folder / "large.bin").write_bytes(os.urandom((17 << 20) + 3))
    return folder


def test_a_folder_is_uploaded_as_the_command_line_does_it(viewer: Viewer, grid: Grid, flowers: Path) -> None:
    grid.ok("datastore", "create", str(flowers), "--name", "typed")
    page = viewer.go("/datastores")
    page.get_by_role("button", name="Upload").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Folder").set_input_files(flowers)
    expect(dialog.get_by_text("5 files, 17.0 MiB")).to_be_visible()
    expect(dialog.get_by_label("Name")).to_have_value("flowers")
    assert viewer.faults() == []
    dialog.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datastores/flowers?version=1")
    expect(page.get_by_text("rose.txt")).to_be_visible()
    made, typed = (grid.json("datastore", "show", name) for name in ("flowers", "typed"))
    assert (made["state"], made["digest"]) == ("succeeded", typed["digest"])
    assert grid.json("datastore", "verify", "flowers")["damaged"] == []


def test_what_cannot_be_uploaded_is_said_and_nothing_is_left(viewer: Viewer, grid: Grid, flowers: Path) -> None:
    page = viewer.go("/datastores")
    page.get_by_role("button", name="Upload").click()
    dialog = page.get_by_role("dialog")
    upload = dialog.get_by_role("button", name="Upload")
    expect(upload).to_be_disabled()
    (flowers / "again.txt").write_bytes(os.urandom(100))  # which no other version has
    dialog.get_by_label("Files").set_input_files([flowers / "again.txt", flowers / "empty"])
    dialog.get_by_label("Name").fill("no/such name")
    upload.click()
    expect(dialog.get_by_text("no/such name")).to_be_visible()
    dialog.get_by_label("Name").fill("flawed")
    page.route("**/finish", lambda route: route.abort())
    upload.click()
    expect(dialog.get_by_text("The server does not answer.")).to_be_visible()
    assert "flawed" not in versions(grid)
    page.unroute("**/finish")
    page.route("**/contents/**", lambda _: None)  # never answered
    upload.click()
    expect(dialog.get_by_label("Sent")).to_be_visible()
    eventually(lambda: "flawed" in versions(grid))
    dialog.get_by_role("button", name="Cancel").click()
    eventually(lambda: "flawed" not in versions(grid))
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Upload").click()
    dialog.get_by_label("Files").set_input_files([flowers / "again.txt", flowers / "empty"])
    dialog.get_by_label("Name").fill("flawed")
    upload.click()
    page.wait_for_url("**/datastores/flawed?version=3")
    many = [flowers / f"f{number}" for number in range(4001)]
    for file in many:
        file.touch()
    viewer.go("/datastores").get_by_role("button", name="Upload").click()
    dialog.get_by_label("Folder").set_input_files(flowers)
    expect(dialog.get_by_text("a browser sends at most 4,000")).to_be_visible()
    expect(dialog.get_by_text("grid datastore create")).to_be_visible()
    expect(upload).to_be_disabled()


def test_where_a_browser_computes_no_digests_the_command_is_named(viewer: Viewer) -> None:
    viewer.page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")  # as over plain http
    page = viewer.go("/datastores")
    page.get_by_role("button", name="Upload").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("or over https")).to_be_visible()
    expect(dialog.get_by_text("grid datastore create ./my-data")).to_be_visible()
