"""Metrics of unchanged Lightning scripts, with TensorBoard's logger and with none, over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.grid import Grid, eventually

SCRIPT = """
import os, sys, time, torch, lightning as L
from torch.utils.data import DataLoader

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, i):
        while self.global_step >= 30 and not os.path.exists(sys.argv[2]):
            time.sleep(0.02)
        time.sleep(0.01)
        self.log("train_loss", float(self.global_step))
        return self.layer(batch).sum()
    def validation_step(self, batch, i):
        self.log("val_acc", self.current_epoch / 10, sync_dist=True)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

data = DataLoader(torch.rand(40, 4), batch_size=2)
trainer = L.Trainer(max_epochs=5, logger=sys.argv[1] == "tensorboard", log_every_n_steps=5, enable_progress_bar=False,
                    enable_model_summary=False)
trainer.fit(Model(), data, DataLoader(torch.rand(8, 4)))
"""


def points(grid: Grid, name: str, tag: str) -> dict[int, float]:
    (series,) = grid.json("metrics", name, "--tag", tag)["series"]
    return dict(zip(series["steps"], series["values"], strict=True))


@pytest.mark.parametrize("logger", ["tensorboard", "none"])
def test_metrics_are_there_while_it_trains_and_go_on_after_a_restart(grid: Grid, tmp_path: Path, logger: str) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    end = tmp_path / "end"
    machines = ("--gpus", "2", "--instance_type", "1_t4_16gb")
    name = grid.submit("--framework", "lightning", *machines, "train.py", logger, str(end), cwd=tmp_path)

    def validated() -> Any:
        found = {row["tag"]: row for row in grid.json("metrics", name)["tags"]}
        return found.get("val_acc", {}).get("points", 0) >= 3 and found.get("train_loss")

    eventually(validated)
    assert grid.experiment(name)["state"] == "running"
    before = points(grid, name, "train_loss")
    grid.ok("rehearse", name, "kill-rank", "1")
    end.touch()
    ended = grid.ended(name)
    assert (ended["state"], ended["generations"]) == ("succeeded", 2)
    document = grid.json("metrics", name)
    assert {"train_loss", "val_acc"} <= {row["tag"] for row in document["tags"]}
    assert document["problems"] == []
    after = points(grid, name, "train_loss")
    assert set(before) - {max(before)} <= set(after)
    assert all(abs(value - step) <= 1 for step, value in after.items())
    assert max(after) >= 48
    (row,) = [row for row in document["tags"] if row["tag"] == "val_acc"]
    assert (row["best"], row["goal"], row["points"]) == (pytest.approx(0.4), "max", 5)
    table = grid.json("metrics", name.rpartition("-exp")[0], "--sort", "metric:val_acc")
    assert table["experiments"][0]["metrics"]["val_acc"]["last"] == pytest.approx(0.4)


def test_tensorboard_is_shown_to_who_is_signed_in_alone(grid: Grid, tmp_path: Path) -> None:
    (tmp_path / "quick.py").write_text("pass")
    name = grid.submit("--instance_type", "2_cpu_4gb", "quick.py", cwd=tmp_path)
    grid.ended(name)
    link = grid.json("tensorboard", name)
    assert "/sign-in#" in link["url"]
    url = grid.json("server", "status")["url"] + link["path"]
    with pytest.raises(HTTPError) as refused:
        urlopen(url)
    assert refused.value.code == 401
    token = (grid.home / "token").read_text()
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"})) as page:
        assert b"<title>TensorBoard</title>" in page.read()
        assert "script-src" in page.headers["Content-Security-Policy"]
