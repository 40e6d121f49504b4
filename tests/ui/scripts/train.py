"""What the tests of the page train: prints, scalars, a checkpoint and a configuration, in no time."""

import argparse
import json
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.tensorboard import SummaryWriter

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--fail_at", type=int, default=-1)
options = parser.parse_args()

dist.init_process_group("gloo")
rank = dist.get_rank()
writer = SummaryWriter("tb") if rank == 0 else None
for step in range(options.steps):
    together = torch.ones(1) * step
    dist.all_reduce(together)
    loss = 2 * (1 - options.lr / 10) ** step
    if writer is not None:
        writer.add_scalar("train/loss", loss, step)
        writer.add_scalar("val/accuracy", 1 - loss / 3, step)
        writer.flush()
    if step % 10 == 0:
        print(f"step {step} loss {loss:.4f}", flush=True)
    if step == options.fail_at and rank == 1:
        raise ValueError(f"the loss of step {step} is no number")
    time.sleep(options.pause)
if rank == 0:
    Path("configs").mkdir()
    Path("configs/config.json").write_text(json.dumps({**vars(options), "world": os.environ["WORLD_SIZE"]}, indent=2))
    torch.save({"step": options.steps, "weights": torch.arange(5000.0)}, "last.ckpt")
dist.destroy_process_group()
