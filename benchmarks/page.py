"""The web page in a real browser: how soon it is there, and whether it stays fluid with much in it.

    python -m benchmarks.page

One real server with 10,000 runs, one of them alive with 5 × 25,000 points that go on growing, and a log of 1 GB.
Chromium without a window draws by software. A frame is the time between two calls of requestAnimationFrame while the
page is scrolled, zoomed or appended to; the time of an answer ends when it is drawn.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.event_bytes import event_file
from benchmarks.page_home import LIVE, LOG_BYTES, LOGGED, POINTS, RUNS, SERIES, TAG, make_home
from benchmarks.support import median, print_rows, server_process
from opengrid.core.protocol import PROTOCOL
from opengrid.core.tokens import attempt_token, new_token

_REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
_MOST_FRAME_MS, _LEAST_FPS = 50.0, 59.0
_SECONDS = 4

#: Counts frames until stopped; `step` is called in each.
_FRAMES = """
(seconds, step) => new Promise((done) => {
  const frames = [];
  let before = performance.now();
  const end = before + 1000 * seconds;
  const frame = () => {
    const now = performance.now();
    frames.push(now - before);
    before = now;
    if (now >= end) return done(frames.slice(1));
    step();
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Frames:
    """What was drawn while something went on."""

    times_ms: list[float]
    cpu_ms: float  #: of all processes of the browser: what is left of a busy machine's noise
    seconds: float = 0.0  #: that the action told


def main() -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory(prefix="og-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        make_home(home)
        with server_process(home) as url, _browser() as browser:
            token = (home / "token").read_text().strip()
            signed_in = _sign_in(browser, url, token)
            rows = _first_views(browser, url, signed_in)
            context = browser.new_context(storage_state=signed_in, viewport={"width": 1440, "height": 900})
            page = context.new_page()
            rows += _list_of_runs(page, url)
            with _growing(url, (home / "secret").read_text()):
                rows += _live_chart(page, url)
            rows += _large_log(page, url)
            context.close()
    print_rows([("the page, drawn by software", "value", "target", ""), *rows])


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("no chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def _sign_in(browser: Browser, url: str, token: str) -> Any:
    """Return the cookies of a browser that is signed in."""
    answer = _ask(url, "POST", "/api/v1/sign-in-links", token, json.dumps({"path": "/runs"}).encode())
    context = browser.new_context()
    page = context.new_page()
    page.goto(answer["url"])
    page.wait_for_url("**/runs")
    state = context.storage_state()
    context.close()
    return state


def _first_views(browser: Browser, url: str, signed_in: Any) -> Rows:
    cold, warm = [], []
    for _ in range(_REPEATS):
        context = browser.new_context(storage_state=signed_in, viewport={"width": 1440, "height": 900})
        cold.append(_view(context, url))
        _view(context, url)  # its code is compiled and kept when it was used twice
        warm.append(_view(context, url))
        context.close()
    return [
        _seconds("first view, cold: nothing in the browser's cache", median(cold), 1.0),
        _seconds("first view, warm", median(warm), 0.4),
    ]


def _view(context: BrowserContext, url: str) -> float:
    page = context.new_page()
    began = time.monotonic()
    page.goto(f"{url}/runs", wait_until="commit")
    _wait_for_run(page, 9999)
    took = time.monotonic() - began
    page.close()
    return took


def _wait_for_run(page: Page, number: int) -> None:
    """Look at every frame; the waiting of locators looks 20, 50, 100 ms and then half a second apart."""
    page.wait_for_function(f"""() => document.querySelector('a[href="/runs/run-{number}"]')""")


def _list_of_runs(page: Page, url: str) -> Rows:
    page.goto(f"{url}/runs")
    page.get_by_role("link", name="run-9999", exact=True).wait_for()
    scroller = "const list = document.querySelector('[role=region][aria-label=Runs]');"
    smooth = _frames(page, f"{scroller} return () => {{ list.scrollTop += 24; }}")
    flung = _frames(page, f"{scroller} let at = 0; return () => {{ at += 1; list.scrollTop = at * 2000 % 480000; }}")
    began = time.monotonic()
    page.evaluate(f"() => {{ {scroller} list.scrollTop = list.scrollHeight; }}")
    _wait_for_run(page, 0)
    end = time.monotonic() - began
    return [
        *_fluid(f"{RUNS:,} runs, scrolled", smooth),
        *_fluid(f"{RUNS:,} runs, flung from end to end", flung),
        _seconds(f"{RUNS:,} runs: the last one, from the first", end, 0.5),
    ]


def _live_chart(page: Page, url: str) -> Rows:
    total = f"{SERIES * POINTS:,} live points"
    page.goto(f"{url}/runs/{LIVE}?draw={','.join(map(str, range(SERIES)))}")
    chart = page.get_by_role("img", name=TAG)
    chart.wait_for()
    page.wait_for_function("() => document.querySelector('canvas')")
    grown = _frames(page, "return () => {}")
    box = chart.bounding_box()
    assert box is not None
    left, top, width, height = box["x"], box["y"], box["width"], box["height"]

    def zoom() -> None:
        for part in (0.3, 0.5, 0.2):
            page.mouse.move(left + width * part, top + height / 2)
            page.mouse.down()
            page.mouse.move(left + width * (part + 0.3), top + height / 2, steps=12)
            page.mouse.up()
            page.wait_for_timeout(400)
        page.mouse.dblclick(left + width / 2, top + height / 2)

    zoomed = _frames_while(page, zoom)
    return [*_fluid(f"{total}, 50 more a second", grown), *_fluid(f"{total}, zoomed three times", zoomed)]


def _large_log(page: Page, url: str) -> Rows:
    size = f"log of {LOG_BYTES / 1e9:.0f} GB"
    page.goto(f"{url}/experiments/{LOGGED}?tab=logs")
    log = page.get_by_role("log")
    log.get_by_text("the last line").first.wait_for()
    element = "const log = document.querySelector('[role=log]');"
    scrolled = _frames(page, f"{element} return () => {{ log.scrollTop -= 40; }}")
    jumps: list[float] = []
    rail = page.locator("[class*=rail]").bounding_box()
    assert rail is not None
    for part in (0.1, 0.9, 0.35, 0.6, 0.02):
        before = log.inner_text()
        began = time.monotonic()
        page.mouse.click(rail["x"] + rail["width"] / 2, rail["y"] + rail["height"] * part)
        page.wait_for_function("(old) => document.querySelector('[role=log]').innerText !== old", arg=before)
        jumps.append(time.monotonic() - began)
    rows = [*_fluid(f"{size}, scrolled", scrolled), _seconds(f"{size}: a jump", median(jumps), 0.3)]
    field = page.get_by_label("Search the log")
    for label, text, button in (
        ("a text that is 900 MB further down", "needle in the haystack", None),
        ("a regular expression, the same", r"^needle \w+ the hay", "Regular expression"),
    ):
        page.get_by_role("button", name="To the end").click()
        if button is not None:
            page.get_by_role("button", name=button).click()
        field.fill(text)
        searching = _frames_while(page, lambda: _found(page, log, field))
        rows += [_seconds(f"{size}: {label}", searching.seconds, 5.0), *_fluid(f"{size}, meanwhile", searching)]
    return rows


def _found(page: Page, log: Any, field: Any) -> float:
    began = time.monotonic()
    field.press("Enter")
    log.locator("[data-marked]").wait_for()
    return time.monotonic() - began


def _frames(page: Page, step: str) -> Frames:
    """Draw frames while something is done in each; `step` gives the function that does it."""
    page.wait_for_timeout(500)
    before = _cpu_ms()
    times: list[float] = page.evaluate(f"() => ({_FRAMES})({_SECONDS}, (() => {{ {step} }})())")
    return Frames(times, _cpu_ms() - before)


def _frames_while(page: Page, act: Callable[[], float | None]) -> Frames:
    """Draw frames while an action goes on."""
    page.wait_for_timeout(500)
    before = _cpu_ms()
    page.evaluate(
        """() => { window.seen = []; window.going = true; let before = performance.now();
        const frame = () => { const now = performance.now(); window.seen.push(now - before); before = now;
          if (window.going) requestAnimationFrame(frame); }; requestAnimationFrame(frame); }"""
    )
    value = act()
    page.wait_for_timeout(300)
    times: list[float] = page.evaluate("() => { window.going = false; return window.seen.slice(1); }")
    return Frames(times, _cpu_ms() - before, value or 0.0)


def _cpu_ms() -> float:
    """Return the processor time that all processes of Chromium below this one have used so far."""
    parents: dict[int, tuple[int, str, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            fields = rest.split()
            name, ticks = head.partition("(")[2], int(fields[11]) + int(fields[12])
            parents[int(stat.parent.name)] = int(fields[1]), name, ticks
    ours, used = {os.getpid()}, 0
    for pid in sorted(parents):
        above, name, ticks = parents[pid]
        if above in ours:
            ours.add(pid)
            used += ticks if name.startswith("chrom") else 0
    return 1000 * used / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _growing(url: str, secret: str) -> Iterator[None]:
    """Bring more points of every series, as agents do, while inside."""
    sessions = [_hello(url, secret, f"live1e{index}-1") for index in range(SERIES)]
    done = threading.Event()

    def grow() -> None:
        sizes = [_put(url, session, 0, event_file([TAG], 1, POINTS)) for session in sessions]
        last = POINTS
        while not done.wait(1.0):
            data = event_file([TAG], last + 1, last + 50 // SERIES)
            sizes = [_put(url, session, size, data) for session, size in zip(sessions, sizes, strict=True)]
            last += 50 // SERIES

    thread = threading.Thread(target=grow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(30)


def _hello(url: str, secret: str, attempt: str) -> str:
    session = new_token()
    hello = {
        "protocol": PROTOCOL, "attempt_id": attempt, "machine": 0, "session": session, "hostname": "fake",
        "address": "127.0.0.1", "pid": os.getpid(), "boot_id": "", "now_ns": time.time_ns(),
    }  # fmt: skip
    _ask(url, "POST", "/agent/v1/hello", attempt_token(secret, attempt), json.dumps(hello).encode())
    return session


def _put(url: str, session: str, offset: int, data: bytes) -> int:
    path = f"/agent/v1/events/0?path=runs/events.out.tfevents.1&generation=1&offset={offset}"
    return _ask(url, "PUT", path, session, data)["size"]


def _ask(url: str, method: str, path: str, token: str, body: bytes) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers, method=method)) as answer:
        return json.loads(answer.read())


def _seconds(label: str, seconds: float, target: float) -> tuple[str, ...]:
    return label, f"{seconds:.2f} s", f"≤ {target:g} s", "ok" if seconds <= target else "MISSED"


def _fluid(label: str, frames: Frames) -> Rows:
    times = frames.times_ms
    fps, worst = 1000 * len(times) / sum(times), max(times)
    long = sum(time > _MOST_FRAME_MS for time in times)
    return [
        (f"{label}: processor time a frame", f"{frames.cpu_ms / len(times):.1f} ms", "", ""),
        (f"{label}: frames a second", f"{fps:.0f}", f"≥ {_LEAST_FPS:.0f}", "ok" if fps >= _LEAST_FPS else "MISSED"),
        (
            f"{label}: longest frame (longer than {_MOST_FRAME_MS:.0f} ms)",
            f"{worst:.0f} ms ({long})",
            f"≤ {_MOST_FRAME_MS:.0f} ms",
            "ok" if not long else "MISSED",
        ),
    ]


if __name__ == "__main__":
    main()
