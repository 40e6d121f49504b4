"""Which checkpoints an experiment's artifacts hold, and which of them are complete. Pure: by their names alone.

What a file holds decides later (services.checkpoints): whether it can be read, and which pieces an index asks for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opengrid.core.checkpoint_file import ASIDE, is_candidate
from opengrid.core.records import Artifact

_TRANSFORMERS = re.compile(r"(?:^|/)checkpoint-\d+$")
_ZERO_PIECE = re.compile(r"^(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt$")
_ZERO_MODEL = re.compile(r"mp_rank_\d+(?:_\w+)?_model_states\.pt$|^zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What may be a checkpoint: one file, or a folder whose pieces may lie on different nodes."""

    path: str  #: relative to work folders
    files: tuple[Artifact, ...]  #: the newest of each path
    problem: str | None = None  #: what its names say is missing
    index: Artifact | None = None  #: the file that names the pieces, of torch.distributed.checkpoint
    extra: tuple[Artifact, ...] = ()  #: files beside the folder that belong to it

    @property
    def is_folder(self) -> bool:
        """Whether it has pieces."""
        return len(self.files) != 1 or self.files[0].path != self.path

    @property
    def modified_us(self) -> int:
        """When its last piece was written."""
        return max(file.modified_us for file in self.files)


def find_candidates(artifacts: Iterable[Artifact], world_size: int) -> list[Candidate]:
    """Return all checkpoints among an experiment's artifacts, newest first."""
    newest = _newest_by_path(artifacts)
    folders: defaultdict[str, list[Artifact]] = defaultdict(list)
    for path, artifact in newest.items():
        folders[path.rpartition("/")[0]].append(artifact)
    found: list[Candidate] = []
    for folder, files in folders.items():
        candidate = _folder(folder, files, newest, world_size) if folder else None
        if candidate is not None:
            found.append(candidate)
    inside = tuple(f"{candidate.path}/" for candidate in found)
    found += [
        Candidate(path=path, files=(artifact,))
        for path, artifact in newest.items()
        if is_candidate(path) and not path.startswith(inside)
    ]
    return sorted(found, key=lambda candidate: (candidate.modified_us, candidate.path), reverse=True)


def missing_pieces(candidate: Candidate, words: Iterable[str]) -> list[str]:
    """Return the pieces that an index names by `words` and the folder does not have."""
    here = {file.path.rpartition("/")[2] for file in candidate.files}
    return sorted({word for word in words if word.endswith(".distcp")} - here)


def _newest_by_path(artifacts: Iterable[Artifact]) -> dict[str, Artifact]:
    newest: dict[str, Artifact] = {}
    for artifact in artifacts:
        if f"{ASIDE}/" in artifact.path:
            continue  # it was set aside before
        known = newest.get(artifact.path)
        if known is None or (artifact.modified_us, -artifact.node) > (known.modified_us, -known.node):
            newest[artifact.path] = artifact
    return newest


def _folder(
    folder: str, files: Sequence[Artifact], newest: Mapping[str, Artifact], world_size: int
) -> Candidate | None:
    by_name = {file.path.rpartition("/")[2]: file for file in files}
    names = set(by_name)
    everything = tuple(file for path, file in sorted(newest.items()) if path.startswith(f"{folder}/"))
    if any(name.endswith(".distcp") for name in names) or ".metadata" in names:
        problem = None if ".metadata" in names else "its .metadata is missing"
        return Candidate(path=folder, files=everything, index=by_name.get(".metadata"), problem=problem)
    if any(_ZERO_PIECE.search(name) or _ZERO_MODEL.search(name) for name in names):
        above = folder.rpartition("/")[0]
        latest = newest.get(f"{above}/latest" if above else "latest")
        problem = _missing_of_zero(names, world_size)
        return Candidate(path=folder, files=everything, problem=problem, extra=(latest,) if latest else ())
    if _TRANSFORMERS.search(folder):
        return Candidate(path=folder, files=everything, problem=_missing_of_transformers(names, world_size))
    return None


def _missing_of_zero(names: Iterable[str], world_size: int) -> str | None:
    """Return what DeepSpeed's folder lacks: the model's states, or some rank's optimizer states."""
    names = set(names)
    if not any(_ZERO_MODEL.search(name) for name in names):
        return "its model states are missing"
    pieces = [match for match in map(_ZERO_PIECE.search, names) if match is not None]
    by_model: defaultdict[int, set[int]] = defaultdict(set)
    for match in pieces:
        by_model[int(match[2])].add(int(match[1]))
    ranks = world_size // len(by_model) if by_model else 0
    absent = next((model for model, there in sorted(by_model.items()) if not there >= set(range(ranks))), None)
    if absent is None:
        return None
    rank = min(set(range(ranks)) - by_model[absent])
    return f"the optimizer states of zero_pp_rank_{rank}_mp_rank_{absent:02d} are missing"


def _missing_of_transformers(names: Iterable[str], world_size: int) -> str | None:
    """Return what a folder of Hugging Face's Trainer lacks."""
    names = set(names)
    if "trainer_state.json" not in names:
        return "its trainer_state.json is missing"
    if not any(re.search(r"^(model|pytorch_model|adapter_model|tf_model)\b.*\.(safetensors|bin)$", n) for n in names):
        return "its model is missing"
    states = {name for name in names if name.startswith("rng_state_")}
    absent = {f"rng_state_{rank}.pth" for rank in range(world_size)} - states if states else set[str]()
    return f"{min(absent)} is missing" if absent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The checkpoint to go on from, and those newer ones that are not used, with the reason."""

    candidate: Candidate | None = None
    is_lightning: bool = False
    skipped: tuple[tuple[Candidate, str], ...] = field(default=())
