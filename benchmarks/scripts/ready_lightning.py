"""ready.py, for scripts that import lightning."""

import os
import time

import lightning.pytorch  # noqa: F401
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
with open(os.path.join(os.environ["BENCH_OUT"], f"ready.{dist.get_rank()}.part"), "w") as file:
    file.write(repr(time.time()))
os.rename(file.name, file.name.removesuffix(".part"))
while not os.path.exists(os.path.join(os.environ["BENCH_OUT"], "stop")):
    time.sleep(0.05)
dist.destroy_process_group()
