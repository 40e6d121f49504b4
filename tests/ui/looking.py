"""A viewer of the page: signs in, goes places, and notes what a page must not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request

from tests.support.grid import Grid

AXE = Path(__file__).parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"

#: Told by the browser when a request was refused or the server was away, which some tests want.
_EXPECTED = ("Failed to load resource", "net::ERR_")


class Viewer:
    """One browser tab of one user."""

    def __init__(self, page: Page, grid: Grid, scheme: str = "light") -> None:
        self.page, self.grid, self.scheme = page, grid, scheme
        self.complaints: list[str] = []  #: what went wrong on the page that no test asked for
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"failed: {error}"))
        page.on("request", self._asked)

    def sign_in(self) -> None:
        """Open the one-time link of `grid view`."""
        link: str = self.grid.json("view")["url"]
        parts = urlsplit(link)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.page.goto(link)
        self.page.wait_for_url("**/runs")

    def go(self, path: str) -> Page:
        """Open a path of the page by its address."""
        self.page.goto(self.origin + path)
        return self.page

    def faults(self) -> list[dict[str, Any]]:
        """Return what axe finds serious or critical on the page as it is."""
        # As text: the page's policy forbids foreign scripts, and what a test brings along is one.
        self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            {"id": fault["id"], "help": fault["help"], "nodes": [node["html"][:160] for node in fault["nodes"]][:4]}
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(text in message.text for text in _EXPECTED):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if request.url.startswith("http") and not request.url.startswith(getattr(self, "origin", request.url)):
            self.complaints.append(f"left the origin: {request.url}")
