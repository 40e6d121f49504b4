"""A real browser (Debian's chromium) that looks at a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from opengrid.server.pages import BUILT
from tests.conftest import missing
from tests.e2e.conftest import environment, new_grid  # noqa: F401 - fixtures
from tests.support.grid import Grid
from tests.support.repositories import commit, hosted
from tests.ui.looking import Viewer

expect.set_options(timeout=90 * 1000)

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, without a window; gone after this folder: Playwright's event loop runs in the thread of all tests."""
    if not (BUILT / "index.html").is_file():
        missing("ui", "the web UI is not built: make ui")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing("chromium", "not installed: apt install chromium")
    with sync_playwright() as playwright:
        # A sandbox of its own needs rights that a container's root does not have; it sees our own server only.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def grid(new_grid: Callable[[], Grid], tmp_path_factory: pytest.TempPathFactory) -> Grid:  # noqa: F811
    """A home whose git finds `https://git.example.com/org/demo` on this disk."""
    grid = new_grid()
    root = tmp_path_factory.mktemp("host")
    commit(root / "demo", {"src/train.py": (SCRIPTS / "train.py").read_text(), "README.md": "A demo.\n"})
    grid.environment |= {**hosted(root), "GRID_GIT_PROTOCOLS": "https:ssh:file"}
    return grid


@pytest.fixture
def viewer(browser: Browser, grid: Grid) -> Iterator[Viewer]:
    """A signed-in viewer; afterwards: nothing came from elsewhere, no script failed, the page's policy was kept."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(90 * 1000)
    viewer = Viewer(context.new_page(), grid)
    viewer.sign_in()
    yield viewer
    context.close()
    assert viewer.complaints == []


@pytest.fixture(scope="session")
def examples(grid: Grid) -> None:
    """Make what pages show: a sweep that succeeded, an experiment that failed, a datastore."""
    script = str(SCRIPTS / "train.py")
    machines = ("--simulate", "--framework", "torch", "--instance_type", "1_v100_16gb", "--gpus", "2")
    sweep = ("--name", "shown-sweep-1", "--label", "team=vision", "--description", "two learning rates")
    grid.ok("datastore", "create", str(SCRIPTS), "--name", "scripts")
    grid.submit(*machines, *sweep, script, "--lr", "[0.1, 0.5]")
    grid.submit(*machines, "--name", "shown-failure-1", script, "--fail_at", "20")
    for name in ("shown-sweep-1-exp0", "shown-sweep-1-exp1", "shown-failure-1-exp0"):
        grid.ended(name)
