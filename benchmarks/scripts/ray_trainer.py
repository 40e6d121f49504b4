"""`ray_trainer.py OUT WORKERS`: the training of ray_train.py under Ray Train's TorchTrainer."""

import sys

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray_train import train


def main() -> None:
    """Train until told to stop; a worker that dies is restarted with all others."""
    out, workers = sys.argv[1], int(sys.argv[2])
    ray.init(address="auto", log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": sys.path[0]}})
    TorchTrainer(
        train,
        train_loop_config=out,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=workers, placement_strategy="SPREAD"),
        run_config=RunConfig(storage_path=f"{out}/results", failure_config=FailureConfig(max_failures=3)),
    ).fit()


if __name__ == "__main__":
    main()
