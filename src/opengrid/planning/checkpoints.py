"""Which checkpoints an experiment's artifacts hold, and which of them are complete. Pure: by their names alone.

What a file holds decides later (services.checkpoints): whether it can be read, and which pieces an index asks for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opengrid.core.checkpoint_file import ASIDE, is_candidate
from opengrid.core.records.artifacts import Artifact

_TRANSFORMERS = re.compile(r"(?:^|/)checkpoint-\d+$")
_ZERO_PIECE = re.compile(r"^(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt$")
_ZERO_MODEL = re.compile(r"mp_rank_\d+(?:_\w+)?_model_states\.pt$|^zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt$")
#: The clocks of machines that write pieces of one checkpoint differ by less.
_CLOCKS_US = 2_000_000

_NO_MODEL = "its model is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What may be a checkpoint: one file, or a folder whose pieces may lie on different nodes."""

    path: str  #: relative to work folders
    files: tuple[Artifact, ...]  #: the newest of each path
    problem: str | None = None  #: what its names say is missing
    index: Artifact | None = None  #: the file that names the pieces, of torch.distributed.checkpoint
    latest: Artifact | None = None  #: the file beside or in it by which DeepSpeed finds it
    tag: str = ""  #: what that says
    inner: tuple[Candidate, ...] = ()  #: folders inside that are complete checkpoints by themselves, or ought to be

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
    by_folder: defaultdict[str, list[Artifact]] = defaultdict(list)
    for path, artifact in newest.items():
        by_folder[path.rpartition("/")[0]].append(artifact)
    folders = [_folder(folder, files, newest, world_size) for folder, files in by_folder.items() if folder]
    found = _outermost([candidate for candidate in folders if candidate is not None])
    inside = tuple(f"{candidate.path}/" for candidate in found)
    found += [
        Candidate(path=path, files=(artifact,))
        for path, artifact in newest.items()
        if is_candidate(path) and not path.startswith(inside)
    ]
    return sorted(found, key=lambda candidate: (candidate.modified_us, candidate.path), reverse=True)


def missing_pieces(candidate: Candidate, names: Iterable[str]) -> list[str]:
    """Return which of the files that an index names are not beside it."""
    here = {file.path.rpartition("/")[2] for file in candidate.files}
    return sorted(set(names) - here)


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
    if any(name.endswith(".distcp") for name in names) or ".metadata" in names:
        index = by_name.get(".metadata")
        return Candidate(
            path=folder, files=_below(folder, newest), index=index, problem=_missing_of_sharded(files, index)
        )
    if any(_ZERO_PIECE.search(name) or _ZERO_MODEL.search(name) for name in names):
        above, _, tag = folder.rpartition("/")
        # Lightning's strategy makes a folder of its own around it.
        path = above if above.endswith(".ckpt") and tag == "checkpoint" else folder
        return Candidate(
            path=path,
            files=_below(path, newest),
            problem=_missing_of_zero(names, world_size),
            latest=newest.get(f"{above}/latest" if above else "latest"),
            tag=tag,
        )
    if _TRANSFORMERS.search(folder):
        problem = _missing_of_transformers(names, world_size)
        return Candidate(path=folder, files=_below(folder, newest), problem=problem)
    return None


def _below(folder: str, newest: Mapping[str, Artifact]) -> tuple[Artifact, ...]:
    return tuple(file for path, file in sorted(newest.items()) if path.startswith(f"{folder}/"))


def _outermost(folders: Sequence[Candidate]) -> list[Candidate]:
    """Return the folders that lie in no other one, with those inside them."""
    paths = [candidate.path for candidate in folders]
    sharded_by_lightning = any(_is_of_lightning(candidate) for candidate in folders)
    found: list[Candidate] = []
    for candidate in folders:
        if any(candidate.path.startswith(f"{path}/") for path in paths):
            continue
        inner = tuple(other for other in folders if other.path.startswith(f"{candidate.path}/"))
        problem = candidate.problem
        if inner and problem == _NO_MODEL:
            problem = None  # the model's pieces are in there
        if sharded_by_lightning and candidate.path.endswith(".ckpt") and not _is_of_lightning(candidate):
            problem = problem or "its meta.pt is missing"
        problem = problem or next((f"in {i.path}, {i.problem}" for i in inner if i.problem is not None), None)
        found.append(replace(candidate, inner=inner, problem=problem))
    return found


def _is_of_lightning(candidate: Candidate) -> bool:
    return candidate.index is not None and any(file.path == f"{candidate.path}/meta.pt" for file in candidate.files)


def _missing_of_sharded(files: Sequence[Artifact], index: Artifact | None) -> str | None:
    """Return what a folder of torch.distributed.checkpoint lacks: an index, written after its pieces."""
    if index is None:
        return "its .metadata is missing"
    newest = max((file.modified_us for file in files if file.path.endswith(".distcp")), default=0)
    if newest - index.modified_us > _CLOCKS_US:
        return "its .metadata is older than its pieces: it was being overwritten"
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
        return _NO_MODEL
    states = {name for name in names if name.startswith("rng_state_")}
    absent = {f"rng_state_{rank}.pth" for rank in range(world_size)} - states if states else set[str]()
    return f"{min(absent)} is missing" if absent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The checkpoint to go on from, and those newer ones that are not used, with the reason."""

    candidate: Candidate | None = None
    is_lightning: bool = False
    skipped: tuple[tuple[Candidate, str], ...] = field(default=())
