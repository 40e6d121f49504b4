"""Fit y = 3x + 2 on all ranks together: the least that a torch.distributed script needs, without any framework.

torchrun --nproc_per_node 4 ddp_minimal.py
grid run --framework torch --instance_type 4_v100_16gb --gpus 8 ddp_minimal.py
"""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    """Train one linear layer; every rank has data of its own and ends with the same weights."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    torch.manual_seed(dist.get_rank())
    model = DistributedDataParallel(torch.nn.Linear(1, 1).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    for step in range(100):
        x = torch.randn(64, 1, device=device)
        loss = torch.nn.functional.mse_loss(model(x), 3 * x + 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if dist.get_rank() == 0 and step % 20 == 0:
            print(f"step {step:3d}  loss {loss.item():.4f}", flush=True)
    weight, bias = (parameter.item() for parameter in model.module.parameters())
    print(f"rank {dist.get_rank()} of {dist.get_world_size()} on {device}: y = {weight:.2f} x + {bias:.2f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
