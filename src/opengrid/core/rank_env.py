"""The environment of a rank: torchrun's contract to the letter, and a short, documented list of our own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opengrid.core.gang import Gang, RankPlace
from opengrid.core.names import split_experiment_name

#: Everything that a rank sees beyond the user's environment and torchrun's variables. A test fails when another one
#: appears.
OUR_VARIABLES: Mapping[str, str] = {
    "GRID_EXPERIMENT_ID": "id of the experiment",
    "GRID_EXPERIMENT_NAME": "its name",
    "GRID_USER_ID": "who started it",
    "GRID_CLUSTER_ID": "the cluster it runs on",
    "GRID_INSTANCE_TYPE": "the type of its machines",
    "GRID_ATTEMPT": "number of the attempt, from 1",
    "GRID_GENERATION": "number of the start of all ranks in the attempt, from 1 (TORCHELASTIC_RESTART_COUNT: from 0)",
    "GRID_RESUME_FROM": "the newest whole checkpoint, when this start shall go on from it: a file or a folder",
    "GRID_RESUME_KIND": "who wrote that checkpoint, where it is known: lightning",
    "GRID_PROGRESS_FILE": "where our callback for Lightning writes rank 0's step",
    "GRID_METRICS_FILE": "where it writes what rank 0 has logged, when no logger of the script writes event files",
    "GRID_NODES": "number of nodes",
    "GRID_MACHINES": "number of machines",
    "GRID_MACHINE": "index of this rank's machine",
    "GLOO_SOCKET_IFNAME": "the network interface of rank 0's network; gloo would guess it from the host name",
    "NCCL_SOCKET_IFNAME": "the same for NCCL",
    "CUDA_VISIBLE_DEVICES": "the node's GPUs by UUID; empty on simulated and CPU machines",
    "PYTHONPATH": "folders of ours around the user's own, if there are any",
    "PL_TRAINER_NUM_NODES": "default of Lightning's Trainer(num_nodes=…)",
    "PL_TRAINER_DEVICES": "default of Trainer(devices=…): ranks per node",
    "PL_TRAINER_ACCELERATOR": "default of Trainer(accelerator=…): gpu, or cpu on simulated and CPU machines",
    "PL_TRAINER_STRATEGY": "default of Trainer(strategy=…): ddp, when there is more than one rank",
    "PL_TRAINER_DEFAULT_ROOT_DIR": "default of Trainer(default_root_dir=…): where artifacts are collected",
    "WANDB_RUN_GROUP": "Weights & Biases' default of group: the run",
    "WANDB_NAME": "its default of name: the experiment; with the rank, for all but rank 0",
    "WANDB_RUN_ID": "its default of id: the same in all starts, so that W&B goes on as well; one for each rank",
    "WANDB_RESUME": "allow: W&B goes on with a run of this id, if there is one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an experiment's variables say about it; the same for all its ranks."""

    experiment_id: str
    experiment: str
    user: str
    cluster: str
    instance_type: str
    attempt: int  #: from 1
    generation: int  #: from 1
    max_restarts: int = 0  #: generations that may follow the first
    resume_from: str | None = None  #: checkpoint to go on from, an absolute path
    resume_kind: str | None = None  #: who wrote that, where it is known: lightning


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Where the ranks of one generation meet."""

    address: str  #: of machine 0: an IP, since an unreachable name server costs 10 s a look-up
    port: int  #: of the generation's store
    interface: str | None  #: of this machine, on the way to `address`; `lo` on loopback; None: libraries guess


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """Defaults for Lightning's Trainer; what the script passes itself wins."""

    gpu: bool  #: False on simulated and on CPU machines
    root: str  #: default_root_dir
    progress_file: str
    metrics_file: str


def rank_environment(
    user: Mapping[str, str],
    *,
    gang: Gang,
    place: RankPlace,
    identity: Identity,
    meeting: Meeting | None,
    error_file: str,
    devices: tuple[str, ...] = (),
    threads: int | None = None,
    folders: tuple[str, ...] = (),
    overlay: str | None = None,
    trainer: Trainer | None = None,
) -> dict[str, str]:
    """Return the complete environment of one rank.

    `user` is the request's environment; its OMP_NUM_THREADS, TORCH_NCCL_ASYNC_ERROR_HANDLING, PL_TRAINER_*, WANDB_* and
    *_SOCKET_IFNAME win over ours. `meeting` is None for programs that do not meet through torch.
    `devices` are the node's GPUs, all of them visible to each of its ranks. `threads` is each rank's share of the
    node's CPUs, for OMP_NUM_THREADS; None: torchrun's rule (1 when a node has several ranks, else not set). `folders`
    go before the user's PYTHONPATH, and `overlay`, the packages that the interpreter lacks, after it; its commands come
    first on PATH. `trainer` is given for the framework lightning.
    """
    defaults = {
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        **_threads(place, threads),
        **_interfaces(meeting),
        **(_trainer(gang, trainer) if trainer is not None else {}),
        **_wandb(place, identity),
    }
    return {
        **defaults,
        **user,
        **_torchrun(gang, place, identity, error_file),
        **(_meeting(meeting) if meeting is not None else {}),
        **_grid(gang, place, identity),
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
        **_python_path(folders, user, overlay),
        **({"PATH": f"{overlay}/bin:{user['PATH']}"} if overlay is not None and "PATH" in user else {}),
    }


def _torchrun(gang: Gang, place: RankPlace, identity: Identity, error_file: str) -> dict[str, str]:
    """Return what torch.distributed.run sets (2.13: LocalElasticAgent._start_workers, LaunchConfig, run.py)."""
    return {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.local_rank),
        "GROUP_RANK": str(place.node.index),
        "ROLE_RANK": str(place.rank),
        "ROLE_NAME": "default",
        "WORLD_SIZE": str(gang.world_size),
        "LOCAL_WORLD_SIZE": str(place.node.ranks),
        "GROUP_WORLD_SIZE": str(len(gang.nodes)),
        "ROLE_WORLD_SIZE": str(gang.world_size),
        "TORCHELASTIC_RESTART_COUNT": str(identity.generation - 1),
        "TORCHELASTIC_MAX_RESTARTS": str(identity.max_restarts),
        "TORCHELASTIC_RUN_ID": f"{identity.experiment_id}-{identity.attempt}",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        "TORCHELASTIC_ERROR_FILE": error_file,
    }


def _meeting(meeting: Meeting) -> dict[str, str]:
    return {
        "MASTER_ADDR": meeting.address,
        "MASTER_PORT": str(meeting.port),
        # The store is a process of its own: no rank opens one.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _threads(place: RankPlace, threads: int | None) -> dict[str, str]:
    if threads is not None:
        return {"OMP_NUM_THREADS": str(max(1, threads))}
    return {"OMP_NUM_THREADS": "1"} if place.node.ranks > 1 else {}


def _interfaces(meeting: Meeting | None) -> dict[str, str]:
    if meeting is None or meeting.interface is None:
        return {}
    return {"GLOO_SOCKET_IFNAME": meeting.interface, "NCCL_SOCKET_IFNAME": meeting.interface}


def _trainer(gang: Gang, trainer: Trainer) -> dict[str, str]:
    # Without these, several CPU ranks train one separate model each, and nobody says so.
    several = {"PL_TRAINER_STRATEGY": "ddp"} if gang.world_size > 1 else {}
    return {
        "PL_TRAINER_NUM_NODES": str(len(gang.nodes)),
        "PL_TRAINER_DEVICES": str(gang.ranks_per_node),
        "PL_TRAINER_ACCELERATOR": "gpu" if trainer.gpu else "cpu",
        "PL_TRAINER_DEFAULT_ROOT_DIR": trainer.root,
        "GRID_PROGRESS_FILE": trainer.progress_file,
        "GRID_METRICS_FILE": trainer.metrics_file,
        **several,
    }


def _wandb(place: RankPlace, identity: Identity) -> dict[str, str]:
    """Return defaults for scripts that use Weights & Biases; others do not look at them."""
    # A script that nobody changed may begin a W&B run on every rank: of one id, they would write over one another.
    rank = f"-rank{place.rank}" if place.rank else ""
    split = split_experiment_name(identity.experiment)
    return {
        "WANDB_RUN_GROUP": split[0] if split is not None else identity.experiment,
        "WANDB_NAME": f"{identity.experiment}{rank}",
        "WANDB_RUN_ID": f"{identity.experiment_id}{rank}",
        "WANDB_RESUME": "allow",
    }


def _grid(gang: Gang, place: RankPlace, identity: Identity) -> dict[str, str]:
    return {
        "GRID_EXPERIMENT_ID": identity.experiment_id,
        "GRID_EXPERIMENT_NAME": identity.experiment,
        "GRID_USER_ID": identity.user,
        "GRID_CLUSTER_ID": identity.cluster,
        "GRID_INSTANCE_TYPE": identity.instance_type,
        "GRID_ATTEMPT": str(identity.attempt),
        "GRID_GENERATION": str(identity.generation),
        **({"GRID_RESUME_FROM": identity.resume_from} if identity.resume_from is not None else {}),
        **({"GRID_RESUME_KIND": identity.resume_kind} if identity.resume_kind is not None else {}),
        "GRID_NODES": str(len(gang.nodes)),
        "GRID_MACHINES": str(gang.machines),
        "GRID_MACHINE": str(place.node.machine),
    }


def _python_path(folders: tuple[str, ...], user: Mapping[str, str], overlay: str | None) -> dict[str, str]:
    if not folders and overlay is None:
        return {}
    return {"PYTHONPATH": ":".join(filter(None, [*folders, user.get("PYTHONPATH"), overlay]))}
