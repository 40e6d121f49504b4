"""One training for both sides: what `grid run` starts as a script is the loop of Ray Train's workers.

Every rank says when it has met the others; rank 0 how fast its measured steps were. It goes on until told to stop.
"""

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

#: Steps before those that are measured, and these.
_WARM, _MEASURED = 200, 3000


def train(out: str) -> None:
    """Train a small network, all gradients averaged over the ranks in every step."""
    folder, rank = Path(out), dist.get_rank()
    dist.all_reduce(torch.ones(1))
    _say(folder / f"ready.{rank}.{os.getpid()}", time.time())
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data, step, began = torch.randn(32, 256), 0, 0.0
    while True:
        if step == _WARM:
            began = time.perf_counter()
        if step == _WARM + _MEASURED and rank == 0:
            _say(folder / "rate", _MEASURED / (time.perf_counter() - began))
        optimizer.zero_grad()
        model(data).pow(2).mean().backward()
        optimizer.step()
        step += 1
        if step % 10 == 0:  # all ranks at the same step
            stop = torch.tensor(float((folder / "stop").exists()))
            dist.all_reduce(stop)
            if stop > 0:
                return
        if step > _WARM + _MEASURED:
            time.sleep(0.01)


def _say(file: Path, number: float) -> None:
    part = file.with_name(file.name + ".part")
    part.write_text(repr(number))
    part.rename(file)


if __name__ == "__main__":
    dist.init_process_group("gloo")
    train(os.environ["BENCH_OUT"])
    dist.destroy_process_group()
