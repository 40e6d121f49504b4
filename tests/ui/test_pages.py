"""Every page: real content, no serious fault for those who cannot see or use a mouse, and a picture to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from tests.support.grid import Grid
from tests.support.repositories import HOST
from tests.ui.looking import Viewer

PICTURES = Path(__file__).parents[2] / "ui" / "screenshots"

NEW_RUN = urlencode(
    {
        "link": f"{HOST}/demo/blob/main/src/train.py",
        "instance_type": "4_v100_16gb",
        "gpus": 8,
        "framework": "torch",
        "arguments": '--lr "[0.1, 0.5]"',
    }
)

#: Name of the picture: the address, and what shows that the page is there.
PAGES = {
    "runs": ("/runs", "shown-sweep-1"),
    "new-run": (f"/runs?new=1&{NEW_RUN}", "2 machines, 2 nodes × 4 GPUs"),
    "run": ("/runs/shown-sweep-1", "train/loss"),
    "run-artifacts": ("/runs/shown-sweep-1?tab=artifacts", "Node 0"),
    "run-details": ("/runs/shown-sweep-1?tab=details", "Plan of each experiment"),
    "experiment": ("/experiments/shown-sweep-1-exp0", "all ranks exited with 0"),
    "experiment-failed": ("/experiments/shown-failure-1-exp0", "is no number"),
    "experiment-parameters": ("/experiments/shown-sweep-1-exp0?tab=parameters", "Framework"),
    "experiment-metrics": ("/experiments/shown-sweep-1-exp0?tab=metrics", "train/loss"),
    "experiment-logs": ("/experiments/shown-failure-1-exp0?tab=logs", "step 10"),
    "experiment-build": ("/experiments/shown-sweep-1-exp0?tab=build", "which packages are missing"),
    "experiment-artifacts": ("/experiments/shown-sweep-1-exp0?tab=artifacts&node=0", "last.ckpt"),
    "experiment-system": ("/experiments/shown-sweep-1-exp0?tab=system", "Interpreter"),
    "machines": ("/machines", "Nothing waits."),
    "datastores": ("/datastores", "scripts"),
    "datastore": ("/datastores/scripts?version=1", "train.py"),
    "not-found": ("/nowhere", "There is no such page."),
    "no-such-run": ("/runs/never-was-1", "There is no run never-was-1."),
}  # fmt: skip


@pytest.fixture(scope="module", params=["light", "dark"])
def visitor(request: pytest.FixtureRequest, browser: Browser, grid: Grid, examples: None) -> Iterator[Viewer]:
    """One viewer for all pages of a colour scheme."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=request.param)
    context.set_default_timeout(90 * 1000)
    viewer = Viewer(context.new_page(), grid, request.param)
    viewer.sign_in()
    yield viewer
    context.close()
    assert viewer.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_there_and_usable_by_all(visitor: Viewer, name: str) -> None:
    path, sign = PAGES[name]
    page = visitor.go(path)
    expect(page.get_by_text(sign).first).to_be_visible()
    page.evaluate("document.fonts.ready")
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}-{visitor.scheme}.png")
    assert visitor.faults() == []
