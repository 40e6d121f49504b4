"""What an experiment's series are called: by the script's own tags, and by who wrote them where several did."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from os.path import commonpath
from pathlib import PurePosixPath

from opengrid.core.names import OWN_FOLDER
from opengrid.core.records.scalars import EventFile

#: Folders that `SummaryWriter.add_hparams` makes beside the writer's own, named by the time.
_OF_HPARAMS = re.compile(r"\d{9,}\.\d+")


def labels(files: Iterable[EventFile]) -> dict[int, str]:
    """Return what tells each file's series from those of the others, by the file's number; "" for the only writer.

    Each start of the ranks is looked at alone, so that a training that went on in another folder goes on in its series.
    Where several nodes write, the first one's series carry no name of a node; where a node writes to several folders,
    series are named by what these do not share.
    """
    by_start: defaultdict[tuple[int, int], list[EventFile]] = defaultdict(list)
    for file in files:
        by_start[file.start].append(file)
    return {number: label for start in by_start.values() for number, label in _labels_of_start(start).items()}


def series_name(tag: str, label: str) -> str:
    """Return the name of a series."""
    return f"{tag} ({label})" if label else tag


def _labels_of_start(files: list[EventFile]) -> dict[int, str]:
    main = min(file.node for file in files)
    folders: defaultdict[int, set[PurePosixPath]] = defaultdict(set)
    for file in files:
        if not _is_own(file):
            folders[file.node].add(_folder(file))
    above = {node: commonpath(map(str, there)) for node, there in folders.items()}
    found: dict[int, str] = {}
    for file in files:
        if _is_own(file):
            found[file.number] = ""
            continue
        inside = str(_folder(file).relative_to(above[file.node]))
        parts = ([] if file.node == main else [f"node {file.node}"]) + ([] if inside == "." else [inside])
        found[file.number] = ", ".join(parts)
    return found


def _folder(file: EventFile) -> PurePosixPath:
    folder = PurePosixPath("/", file.path).parent
    return folder.parent if _OF_HPARAMS.fullmatch(folder.name) else folder


def _is_own(file: EventFile) -> bool:
    """Whether our own callback has written it: what Lightning's self.log() gets, whoever else writes something."""
    return file.path.startswith(f"{OWN_FOLDER}/")
