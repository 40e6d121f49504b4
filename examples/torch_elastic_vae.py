"""Train a small variational autoencoder on grey images, on one process or on many machines.

The script knows nothing of OpenGrid. It runs alone, under torchrun and under `grid run` alike:

    python torch_elastic_vae.py
    torchrun --nproc_per_node 4 torch_elastic_vae.py --gpus 4
    grid run --instance_type 4_v100_16gb --gpus 8 torch_elastic_vae.py --gpus 8 --data_path grid:stl10:1 --num_nodes 2
"""

import argparse
import json
import logging
import os
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class VAE(pl.LightningModule):
    """A two-layer encoder and decoder for flat images with pixels between 0 and 1."""

    def __init__(self, pixels: int, hidden: int = 256, latent_dim: int = 16, lr: float = 2e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the negative evidence lower bound per image, in nats."""
        (images,) = batch
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(latent), images, reduction="sum")
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        parts = {"reconstruction": reconstruction / len(images), "kl": divergence / len(images)}
        loss = parts["reconstruction"] + parts["kl"]
        # means over the epoch and over all ranks: the same curve, however many ranks there are
        self.log_dict({"loss": loss, **parts}, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(images))
        return loss

    def on_train_epoch_end(self) -> None:
        """Print the epoch's loss, once for all ranks."""
        loss = self.trainer.callback_metrics["loss"]  # every rank must ask: it is a mean over all of them
        self.print(f"epoch {self.current_epoch + 1:3d}/{self.trainer.max_epochs}  loss {loss:.2f}", flush=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


def load_images(folder: Path) -> Tensor:
    """Return all images of the folder's *.npz files as rows of pixels between 0 and 1."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise SystemExit(f"no *.npz file in {folder.resolve()}: `python make_stl10.py` makes some")
    images = np.concatenate([np.load(file)["images"] for file in files])
    scale = 255 if images.dtype == np.uint8 else 1
    return torch.from_numpy(images).flatten(start_dim=1).float() / scale


def describe(folder: Path) -> str:
    """Return what the folder's data.json says the data is."""
    note = folder / "data.json"
    return json.loads(note.read_text())["description"] if note.exists() else "images that nobody described"


def parse_arguments() -> argparse.Namespace:
    """Read the command line; what is not given comes from torchrun's environment, else from one process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=int(os.environ.get("WORLD_SIZE", "1")), help="over all nodes")
    parser.add_argument("--num_nodes", type=int, default=int(os.environ.get("GROUP_WORLD_SIZE", "1")))
    parser.add_argument("--accelerator", choices=["auto", "gpu", "cpu"], default="auto")
    parser.add_argument("--data_path", type=Path, default=Path("stl10"), help="folder with *.npz, array `images`")
    parser.add_argument("--max_epochs", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=32, help="of one rank")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--latent_dim", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.num_nodes < 1 or arguments.gpus < 1 or arguments.gpus % arguments.num_nodes:
        parser.error(f"--gpus {arguments.gpus} cannot be shared equally by --num_nodes {arguments.num_nodes}")
    if arguments.accelerator == "auto":
        arguments.accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    return arguments


def quieten() -> None:
    """Keep what every rank would repeat out of the logs."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data is in memory
    warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning's own use of torch


def main() -> None:
    """Train, and leave logs, checkpoints and the configuration in lightning_logs/."""
    arguments = parse_arguments()
    quieten()
    pl.seed_everything(arguments.seed, verbose=False)
    images = load_images(arguments.data_path)

    logger = TensorBoardLogger(save_dir=".", name="lightning_logs")
    trainer = pl.Trainer(
        accelerator=arguments.accelerator,
        devices=arguments.gpus // arguments.num_nodes,
        num_nodes=arguments.num_nodes,
        max_epochs=arguments.max_epochs,
        logger=logger,
        callbacks=[ModelCheckpoint(filename="best-{epoch}", monitor="loss", save_top_k=1, save_last=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )

    if trainer.is_global_zero:
        description = describe(arguments.data_path)
        print(f"data: {description}", flush=True)
        print(f"{len(images)} images, {trainer.world_size} ranks on {trainer.num_nodes} nodes", flush=True)
        config = {**vars(arguments), "data_path": str(arguments.data_path), "data": description}
        folder = Path(logger.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    model = VAE(images.shape[1], latent_dim=arguments.latent_dim, lr=arguments.lr)
    trainer.fit(model, DataLoader(TensorDataset(images), batch_size=arguments.batch_size, shuffle=True))
    if trainer.is_global_zero:
        print(f"logs, checkpoints and config.json are in {logger.log_dir}", flush=True)


if __name__ == "__main__":
    main()
