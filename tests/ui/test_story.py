"""The story that OpenGrid exists for: paste a link, choose machine and GPUs, start; then verify the results."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.support.repositories import HOST
from tests.ui.looking import Viewer

LINK = f"{HOST}/demo/blob/main/src/train.py"


def test_a_pasted_link_becomes_a_multi_node_run_whose_results_can_be_seen(viewer: Viewer, tmp_path: Path) -> None:
    page, grid = viewer.page, viewer.grid

    # Paste the script's link, select the machine, say how many GPUs one experiment uses.
    page.get_by_role("button", name="New run", exact=True).click()
    form = page.get_by_role("form", name="New run")
    form.get_by_label("Link to the script").fill(LINK)
    expect(form.get_by_label("Repository")).to_have_value(f"{HOST}/demo")
    expect(form.get_by_label("Branch, tag or commit")).to_have_value("main")
    expect(form.get_by_label("Path of the script")).to_have_value("src/train.py")
    form.get_by_role("combobox", name="Machine").click()
    page.get_by_role("option", name="4xV100 (16 GB) $12.85/h (p3.8xlarge)").click()
    form.get_by_label("GPUs per experiment").fill("8")
    form.get_by_label("Script arguments").fill("--steps 40")
    form.get_by_role("combobox", name="Framework").click()
    page.get_by_role("option", name="PyTorch").click()
    form.get_by_label("Run name").fill("pasted-run-1")

    # The plan is the server's; so is the command that does the same.
    expect(form).to_contain_text("2 machines, 2 nodes × 4 GPUs")
    form.get_by_text("The same as a command").click()
    command = form.locator("pre").inner_text()
    assert command.startswith("grid run "), command
    assert LINK.rpartition("/")[2] in command, command
    form.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/pasted-run-1")

    expect(page.get_by_role("table", name="Experiments").get_by_text("simulated")).to_be_visible()

    # Experiment details: how many GPUs were used, and where every rank ran.
    page.get_by_role("link", name="pasted-run-1-exp0").click()
    expect(page.get_by_role("heading", name="pasted-run-1-exp0")).to_be_visible()
    expect(page.get_by_text("8 = 2 nodes × 4 GPUs on 2 machines 4_v100_16gb")).to_be_visible()
    expect(page.locator('[data-state="succeeded"]')).to_be_visible()
    expect(page.get_by_text("simulated", exact=True).first).to_be_visible()
    expect(page.locator('[data-rank-state="succeeded"]')).to_have_count(8)
    expect(page.get_by_label(re.compile(r"^Machine \d$"))).to_have_count(2)

    # Scalars are visible, as for a training on one node.
    page.get_by_role("tab", name="Metrics").click()
    expect(page.get_by_role("img", name="train/loss, 40 points of 1 line")).to_be_visible()
    expect(page.get_by_role("img", name="val/accuracy, 40 points of 1 line")).to_be_visible()

    # A configuration can be read, and a checkpoint downloaded, byte for byte.
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("button", name=re.compile("^Node 0")).click()
    page.get_by_role("button", name=re.compile("^configs")).click()
    page.get_by_role("button", name=re.compile(r"^config\.json")).click()
    expect(page.get_by_label("Content")).to_contain_text('"world": "8"')
    page.get_by_role("navigation", name="Folder").get_by_role("button", name="Node 0").click()
    page.get_by_role("button", name=re.compile(r"^last\.ckpt")).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    download.value.save_as(tmp_path / "from-page.ckpt")
    grid.ok("artifacts", "pasted-run-1-exp0", "--download_dir", str(tmp_path / "cli"), "-m", r"last\.ckpt")
    (fetched,) = (tmp_path / "cli").rglob("last.ckpt")
    assert (tmp_path / "from-page.ckpt").read_bytes() == fetched.read_bytes()
