"""What the launcher is to start for one generation: program, environment and files of each rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.gang import Node, RankPlace
from opengrid.core.protocol import Assignment, Restore
from opengrid.core.rank_env import Identity, Meeting, Trainer, rank_environment
from opengrid.core.spec import Framework, ProgramKind
from opengrid.node.event_files import METRICS
from opengrid.node.network import interface_towards
from opengrid.node.preload.messages import RankStart
from opengrid.node.program import as_found, needs_store, reason_to_execute
from opengrid.node.workspace import node_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the ranks of one generation on this machine write."""

    folder: Path

    def stream(self, rank: int, name: str) -> Path:
        """Return the file of stdout or stderr."""
        return self.folder / f"{rank}.{name}"

    def error(self, rank: int) -> Path:
        """Return the file that gets an uncaught exception."""
        return self.folder / f"{rank}.error.json"

    @property
    def progress(self) -> Path:
        """Return the file that gets rank 0's first and last step."""
        return self.folder / "progress"

    @property
    def samples(self) -> Path:
        """Return the file of what is measured while they run."""
        return self.folder / "samples"

    def scratch(self, rank: int) -> Path:
        """Return the empty folder in which a rank makes its mounts."""
        return self.folder / f"{rank}.mounts"

    @property
    def metrics(self) -> Path:
        """Return the event file that gets what a Lightning script has logged, when its own logger writes none."""
        return self.folder / METRICS

    def stacks(self, rank: int) -> Path:
        """Return the file that gets the stacks of all threads when asked for."""
        return self.folder / f"{rank}.stacks"


def rank_starts(
    assignment: Assignment,
    generation: int,
    files: Files,
    *,
    store_address: str | None,
    store_port: int | None,
    restore: Restore,
    hooks: Path,
) -> list[RankStart]:
    """Return the starts of all ranks of this machine.

    They go on from what `restore` has put into their work folders; `hooks` is on the path of those that use Lightning.
    """
    meeting = None
    if assignment.framework.is_torch and store_address is not None and store_port is not None:
        meeting = Meeting(address=store_address, port=store_port, interface=interface_towards(store_address))
    return [_start(assignment, generation, files, place, meeting, restore, hooks) for place in places(assignment)]


def places(assignment: Assignment) -> Iterator[RankPlace]:
    """Yield the places of this machine's ranks."""
    return assignment.gang.ranks(assignment.machine)


def start_directory(assignment: Assignment, node: Node) -> Path:
    """Return the folder in which a node's ranks start."""
    return node_folders(assignment)[node.index] / assignment.directory


def own_folders(assignment: Assignment, node: Node) -> tuple[str, ...]:
    """Return the folders of the tree from which a node's ranks import."""
    root = node_folders(assignment)[node.index]
    return tuple(os.path.normpath(root / folder) for folder in assignment.folders)


def reason_for_processes(assignment: Assignment) -> str:
    """Return why this machine's ranks will be ordinary processes instead of forks; "" when forks are expected."""
    return reason_to_execute(assignment.program, assignment.framework, assignment.environment)


def _start(
    assignment: Assignment,
    generation: int,
    files: Files,
    place: RankPlace,
    meeting: Meeting | None,
    restore: Restore,
    hooks: Path,
) -> RankStart:
    directory = start_directory(assignment, place.node)
    return RankStart(
        rank=place.rank,
        program=as_found(assignment.program, directory),
        environment=_environment(assignment, generation, files, place, meeting, restore, hooks),
        directory=str(directory),
        stdout=str(files.stream(place.rank, "stdout")),
        stderr=str(files.stream(place.rank, "stderr")),
        title=f"grid {assignment.experiment} rank {place.rank}/{assignment.gang.world_size}: "
        f"{assignment.program.target}",
        error_file=str(files.error(place.rank)),
        stacks=str(files.stacks(place.rank)),
        overlay=assignment.overlay,
        preloaded=assignment.framework.is_torch,
        mounts=assignment.mounts,
        scratch=str(files.scratch(place.rank)) if assignment.mounts else None,
    )


def _environment(
    assignment: Assignment,
    generation: int,
    files: Files,
    place: RankPlace,
    meeting: Meeting | None,
    restore: Restore,
    hooks: Path,
) -> dict[str, str]:
    checkpoint, is_lightning = restore.checkpoint, uses_lightning(assignment)
    environment = rank_environment(
        assignment.environment,
        gang=assignment.gang,
        place=place,
        identity=Identity(
            experiment_id=assignment.experiment_id,
            experiment=assignment.experiment,
            user=assignment.user,
            cluster=assignment.cluster,
            instance_type=assignment.instance_type,
            attempt=assignment.attempt,
            generation=generation,
            max_restarts=assignment.max_restarts,
            resume_from=str(node_folders(assignment)[place.node.index] / checkpoint) if checkpoint else None,
            resume_kind="lightning" if restore.is_lightning else None,
        ),
        meeting=meeting,
        error_file=str(files.error(place.rank)),
        devices=_devices(assignment, place.node),
        threads=_threads(assignment, place.node),
        folders=(*((str(hooks),) if is_lightning else ()), *own_folders(assignment, place.node)),
        overlay=assignment.overlay,
        trainer=_trainer(assignment, files, place.node) if is_lightning else None,
    )
    if not needs_store(assignment.program, assignment.framework):
        # The port is free: a torchrun in a shell script, or rank 0 itself, opens the store there.
        environment.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    return environment


def uses_lightning(assignment: Assignment) -> bool:
    """Return whether ranks are Python programs that may use Lightning's Trainer."""
    return assignment.framework is Framework.LIGHTNING and assignment.program.kind is not ProgramKind.EXECUTABLE


def _devices(assignment: Assignment, node: Node) -> tuple[str, ...]:
    """Return the node's GPUs; none is visible on simulated and CPU machines, lest something trains on one unasked."""
    nodes = assignment.gang.nodes_of(assignment.machine)
    return assignment.devices[nodes.index(node)] if not assignment.simulated and assignment.devices else ()


def _threads(assignment: Assignment, node: Node) -> int | None:
    """Return the CPUs for the only rank of a node; torchrun's rule holds with several, and for a rank that is alone."""
    if node.ranks > 1 or assignment.gang.world_size == 1:
        return None
    if assignment.simulated:
        return max(1, (os.cpu_count() or 1) // assignment.gang.world_size)
    return node.cpus


def _trainer(assignment: Assignment, files: Files, node: Node) -> Trainer:
    return Trainer(
        gpu=bool(_devices(assignment, node)) and not assignment.counted,
        root=str(start_directory(assignment, node)),
        progress_file=str(files.progress),
        metrics_file=str(files.metrics),
    )
