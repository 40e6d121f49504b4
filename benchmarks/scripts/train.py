"""Trains without an end; every rank writes when the first batch of each of its starts begins."""

import os
import time
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

OUT = Path(os.environ["BENCH_OUT"])


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 64)
        self.has_begun = False

    def training_step(self, batch, _):
        if not self.has_begun:
            self.has_begun = True
            (OUT / f"first.{self.global_rank}.{os.getpid()}").write_text(str(time.time()))
        if (OUT / "stop").exists():
            os._exit(0)
        time.sleep(0.01)
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


if (OUT / "stop").exists():  # restarted by whoever saw another rank leave
    os._exit(0)
trainer = pl.Trainer(
    accelerator="cpu",
    strategy="ddp",
    num_nodes=2,
    devices=4,
    max_epochs=-1,
    default_root_dir=OUT / "root" if "GRID_EXPERIMENT_ID" not in os.environ else None,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Model(), DataLoader(TensorDataset(torch.randn(512, 64)), batch_size=4))
