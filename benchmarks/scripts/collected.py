"""Trains on any number of ranks; rank 0 writes files, window by window, into its work folder or elsewhere.

Of two windows one has its files where they are collected, which of them is drawn by lot. A window goes on after its
files for as long as collecting them takes, and so holds all that it costs.
"""

import argparse
import json
import os
import random
import time

import torch
import torch.distributed as dist
from torch import nn

OUT = os.environ["BENCH_OUT"]


def main() -> None:
    """Train until all windows are over and somebody says stop."""
    parser = argparse.ArgumentParser()
    for name in ("--pairs", "--files", "--bytes"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--writing_s", "--window_s"):
        parser.add_argument(name, type=float, required=True)
    wanted = parser.parse_args()
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))
    model = nn.parallel.DistributedDataParallel(layers)
    optimizer, batch = torch.optim.Adam(model.parameters(), lr=1e-3), torch.rand(64, 256)
    windows = windows_of(wanted) if dist.get_rank() == 0 else None
    while not told_to_stop():
        for _ in range(50):
            optimizer.zero_grad()
            (model(batch) - batch).pow(2).mean().backward()
            optimizer.step()
            if windows is not None:
                next(windows, None)
    dist.destroy_process_group()


def told_to_stop() -> bool:
    """Ask rank 0, so that all ranks stop at the same step."""
    answer = torch.tensor(float(os.path.exists(os.path.join(OUT, "stop"))))
    dist.broadcast(answer, src=0)
    return bool(answer)


def windows_of(wanted):
    """Go on by one step with each `next`: write what is due, and note what became of a window when it is over."""
    while not os.path.exists(os.path.join(OUT, "watched")):
        yield
    with open(os.path.join(OUT, "watched")) as file:
        watched = json.load(file)
    lot, order = random.Random(0), [False]  # the first one warms up
    for _ in range(wanted.pairs):
        first = lot.random() < 0.5
        order += [first, not first]
    for number, is_collected in enumerate(order):
        place = os.path.join("." if is_collected else OUT, f"window{number}")
        os.makedirs(place)
        yield  # from the end of one step …
        steps = written = 0
        began, own, used = (
            time.monotonic(),
            time.process_time(),
            {name: processor_s(pid) for name, pid in watched.items()},
        )
        while (elapsed := time.monotonic() - began) < wanted.window_s:
            due = min(wanted.files, int(wanted.files * elapsed / wanted.writing_s))
            for file in range(written, due):
                with open(os.path.join(place, f"f{file}"), "wb") as out:
                    out.write(os.urandom(wanted.bytes))
            written = due
            yield  # … to the end of another
            steps += 1
        window = {
            "is_collected": is_collected,
            "steps_per_s": steps / elapsed,
            "rank_s_per_step": (time.process_time() - own) / steps,
            **{name: processor_s(pid) - used[name] for name, pid in watched.items()},
        }
        if number:
            with open(os.path.join(OUT, "windows"), "a") as out:
                out.write(json.dumps(window) + "\n")
        # What is looked at stays as little. Removed it is not: ext4 is slow to make files for minutes after that.
        os.rename(place, os.path.join(OUT, f"over{number}"))
    with open(os.path.join(OUT, "load"), "w") as out:
        out.write(f"{os.getloadavg()[1]:.1f}")


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


main()
