"""Trains the example's VAE on 4 ranks for a fixed time after a warm-up; rank 0 writes steps a second."""

import os
import time

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch_elastic_vae import VAE

WARM_UP, SECONDS = 50, 6.0


class Clock(pl.Callback):
    """Counts the steps of the time that follows the warm-up."""

    def __init__(self) -> None:
        self.start = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Start after the warm-up; stop all ranks at the same step once rank 0's time is over."""
        if trainer.global_step == WARM_UP:
            self.start = time.monotonic()
        elif trainer.global_step > WARM_UP and trainer.global_step % 50 == 0:
            elapsed = trainer.strategy.broadcast(time.monotonic() - self.start)
            if elapsed > SECONDS:
                trainer.should_stop = True
                if trainer.is_global_zero:
                    with open(os.path.join(os.environ["BENCH_OUT"], "steps"), "w") as file:
                        file.write(repr((trainer.global_step - WARM_UP) / elapsed))


torch.manual_seed(0)
data = DataLoader(TensorDataset(torch.rand(4096, 256)), batch_size=32)
trainer = pl.Trainer(
    accelerator="cpu", devices=4, num_nodes=1, strategy="ddp", max_epochs=10_000, callbacks=[Clock()], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(VAE(256), data)
