"""Trains the example's VAE on 4 ranks until told to stop; rank 0 writes down every step, every rank who it is."""

import os
import struct

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch_elastic_vae import VAE

OUT, RANK = os.environ["BENCH_OUT"], os.environ["RANK"]


class Count(pl.Callback):
    """Keeps the number of finished steps in a file."""

    def __init__(self) -> None:
        self.file = os.open(os.path.join(OUT, f"steps.{RANK}"), os.O_CREAT | os.O_WRONLY, 0o600)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Write the step; stop all ranks at the same one."""
        os.pwrite(self.file, struct.pack("q", trainer.global_step), 0)
        if trainer.global_step % 50 == 0:
            trainer.should_stop = trainer.strategy.broadcast(os.path.exists(os.path.join(OUT, "stop")))


with open(os.path.join(OUT, f"pids.{RANK}"), "w") as file:
    file.write(f"{os.getpid()} {os.getppid()}")
torch.manual_seed(0)
data = DataLoader(TensorDataset(torch.rand(4096, 256)), batch_size=32)
trainer = pl.Trainer(
    accelerator="cpu", devices=4, num_nodes=1, strategy="ddp", max_epochs=10_000, callbacks=[Count()], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(VAE(256), data)
