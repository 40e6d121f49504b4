"""What of a computer helps or hinders training, with advice: facts in, checks out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from opengrid.planning.capacity import most_ranks
from opengrid.planning.inventory import Accelerator, in_words

#: Below these something usually breaks, or soon will.
_SHM_MIB, _FILES, _PROCESSES, _DISK_MIB, _FULL_MIB, _LOOKUP_S = 1024, 4096, 4096, 10 * 1024, 1024, 2.0

_GIB = 1024


class Level(str, Enum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"  #: works, but may hurt
    PROBLEM = "problem"  #: something will not work


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `grid doctor`."""

    name: str
    level: Level
    said: str
    advice: str = ""  #: what to do; "" when nothing needs to be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Torch:
    """What the ranks' torch says about itself."""

    version: str
    cuda: str | None  #: what it was built for; None: CPU alone
    devices: int  #: GPUs that it can use now
    nccl: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A computer, as its user's shell sees it."""

    python: str
    torch: Torch | None
    torch_problem: str = ""  #: why there is none: not installed, or it does not load
    gpus: tuple[Accelerator, ...]
    visible: str | None  #: CUDA_VISIBLE_DEVICES
    memory_mib: int
    available_mib: int
    shm_mib: int | None  #: size of /dev/shm; None: there is none
    open_files: int  #: soft limit; -1 = none
    open_files_most: int  #: hard limit
    processes: int
    locked_kib: int
    has_infiniband: bool
    state: str  #: GRID_STATE
    state_network: str  #: kind of the network file system that it lies on; "" for a disk
    home_network: str
    disk_free_mib: int
    hostname: str
    lookup_s: float | None  #: how long looking the host's own name up took; None: it has no address
    loopback_problem: str
    proxy: str  #: what requests to the server would go through; "" for none
    server: str  #: the server that is signed in to, or runs here; "" for none
    server_problem: str
    git: str | None  #: its version


def examine(facts: Facts) -> tuple[Check, ...]:
    """Return all checks, in the order in which people ask."""
    return (
        *_torch(facts),
        *_gpus(facts),
        *_memory(facts),
        *_limits(facts),
        *_disk(facts),
        *_network(facts),
        *_tools(facts),
    )


def _torch(facts: Facts) -> Iterator[Check]:
    torch = facts.torch
    if torch is None:
        yield _check(
            "torch",
            Level.PROBLEM,
            f"{facts.python}: {facts.torch_problem}",
            f"{facts.python} -m pip install torch, or name another interpreter with --python",
        )
        return
    built = f"CUDA {torch.cuda}" + (f", NCCL {torch.nccl}" if torch.nccl else "") if torch.cuda else "CPU"
    said = f"{torch.version} ({built}) of {facts.python}"
    if facts.gpus and torch.cuda is None:
        yield _check(
            "torch", Level.PROBLEM, f"{said}, but this computer has GPUs", "install a build for CUDA from pytorch.org"
        )
    elif facts.gpus and not torch.devices and facts.visible != "":
        advice = "is the driver older than that CUDA? nvidia-smi tells; or does CUDA_VISIBLE_DEVICES hide them?"
        yield _check("torch", Level.PROBLEM, f"{said}, but it sees none of the {len(facts.gpus)} GPUs", advice)
    else:
        yield _check("torch", Level.OK, said)


def _gpus(facts: Facts) -> Iterator[Check]:
    if not facts.gpus:
        yield _check("GPUs", Level.OK, f"none: up to {most_ranks(facts.memory_mib)} CPU ranks simulate them")
        return
    busy = [gpu for gpu in facts.gpus if gpu.busy]
    said = in_words(facts.gpus) + (f"; CUDA_VISIBLE_DEVICES={facts.visible}" if facts.visible is not None else "")
    if busy:
        yield _check("GPUs", Level.WARNING, f"{said}; {len(busy)} busy: {busy[0].busy}", "runs wait for them")
    else:
        yield _check("GPUs", Level.OK, said)


def _memory(facts: Facts) -> Iterator[Check]:
    said = f"{_size(facts.available_mib)} of {_size(facts.memory_mib)} free"
    few = facts.available_mib < 2 * _GIB
    yield _check("memory", Level.WARNING if few else Level.OK, said, "ranks may be killed" if few else "")
    if facts.shm_mib is None:
        advice = "data loaders with workers need it: mount a tmpfs there"
        yield _check("shared memory", Level.PROBLEM, "there is no /dev/shm", advice)
    elif facts.shm_mib < _SHM_MIB:
        advice = "data loaders with workers, and NCCL, need more: docker run --shm-size=8g, or remount it with size=8g"
        yield _check("shared memory", Level.WARNING, f"{_size(facts.shm_mib)} in /dev/shm", advice)
    else:
        yield _check("shared memory", Level.OK, f"{_size(facts.shm_mib)} in /dev/shm")


def _limits(facts: Facts) -> Iterator[Check]:
    if 0 <= facts.open_files < _FILES:
        most = "more" if facts.open_files_most < 0 else str(facts.open_files_most)
        advice = f"ulimit -n {most}" if facts.open_files_most > _FILES else "raise nofile in /etc/security/limits.conf"
        yield _check("open files", Level.WARNING, f"at most {facts.open_files}: many ranks need more", advice)
    else:
        yield _check("open files", Level.OK, _limit(facts.open_files))
    if 0 <= facts.processes < _PROCESSES:
        said = f"at most {facts.processes} of this user, threads included"
        yield _check("processes", Level.WARNING, said, "raise nproc in /etc/security/limits.conf")
    else:
        yield _check("processes", Level.OK, _limit(facts.processes))
    if facts.has_infiniband and facts.locked_kib >= 0:
        said = f"at most {facts.locked_kib >> 10} MiB can be locked, and InfiniBand needs that without limit"
        yield _check("locked memory", Level.WARNING, said, "memlock unlimited in /etc/security/limits.conf")


def _disk(facts: Facts) -> Iterator[Check]:
    said = f"{_size(facts.disk_free_mib)} free in {facts.state}"
    level = Level.OK if facts.disk_free_mib >= _DISK_MIB else Level.WARNING
    level = Level.PROBLEM if facts.disk_free_mib < _FULL_MIB else level
    advice = "" if level is Level.OK else "`grid delete` removes old runs; GRID_STATE names another disk"
    yield _check("disk", level, said, advice)
    if facts.state_network:
        said = f"{facts.state} lies on {facts.state_network}, where a database loses data"
        yield _check("file system", Level.PROBLEM, said, "GRID_STATE=/var/tmp/opengrid-$USER, a disk of this host")
    elif facts.home_network:
        yield _check("file system", Level.OK, f"home on {facts.home_network}, state on a disk of this host")


def _network(facts: Facts) -> Iterator[Check]:
    if facts.loopback_problem:
        yield _check("ports", Level.PROBLEM, facts.loopback_problem, "the server and its agents speak over 127.0.0.1")
    else:
        yield _check("ports", Level.OK, "127.0.0.1 can be listened on")
    if facts.lookup_s is None:
        said = f"{facts.hostname} has no address"
        yield _check("host name", Level.WARNING, said, f"add a line to /etc/hosts: 127.0.1.1 {facts.hostname}")
    elif facts.lookup_s > _LOOKUP_S:
        said = f"looking {facts.hostname} up took {facts.lookup_s:.0f} s"
        yield _check("host name", Level.WARNING, said, "starts wait that long: is a DNS server out of reach?")
    else:
        yield _check("host name", Level.OK, facts.hostname)
    if facts.server_problem:
        yield _check("server", Level.PROBLEM, facts.server_problem, "`grid logout` goes back to this computer's own")
    else:
        yield _check("server", Level.OK, facts.server or "none runs; the next command that needs one starts it")
    if facts.proxy:
        said = f"requests to {facts.server} go through {facts.proxy}"
        yield _check("proxy", Level.WARNING, said, "name its host in no_proxy when it can be reached directly")


def _tools(facts: Facts) -> Iterator[Check]:
    if facts.git is None:
        yield _check("git", Level.WARNING, "not found", "folders run as they are, and links cannot be fetched")
    else:
        yield _check("git", Level.OK, facts.git)


def _check(name: str, level: Level, said: str, advice: str = "") -> Check:
    return Check(name=name, level=level, said=said, advice=advice)


def _size(mib: int) -> str:
    return f"{mib / _GIB:.1f} GiB" if mib >= _GIB else f"{mib} MiB"


def _limit(number: int) -> str:
    return "no limit" if number < 0 else f"at most {number}"
