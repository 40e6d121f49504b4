"""The event file that our callback writes without TensorBoard, read by TensorBoard's own reader and by ours."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from opengrid.node.hooks.opengrid_metrics import MetricsFile
from opengrid.services.event_records import decode


def test_tensorboard_and_we_read_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "callback_metrics.tfevents"
    file = MetricsFile(str(path))
    file.write({"loss": 0.5, "größe": 1e300, "text": "no number", "none": None}, 0)
    file.write({"loss": math.nan}, 300)
    events = [e for e in LegacyEventFileLoader(str(path)).Load() if e.summary.value]
    found = [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in events]
    assert str(found) == str([(0, "loss", 0.5), (0, "größe", math.inf), (300, "loss", math.nan)])
    decoded = decode(path.read_bytes())
    assert (decoded.tags, decoded.points["step"].tolist(), decoded.problem) == (("loss", "größe"), [0, 0, 300], None)


def test_only_what_has_changed_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = MetricsFile(str(path))
    for step, metrics in enumerate([{"a": 1.0}, {"a": 1.0, "b": 2.0}, {"a": 1.5, "b": math.nan}, {"b": math.nan}]):
        file.write(metrics, step)
    decoded = decode(path.read_bytes())
    assert [(decoded.tags[p["tag"]], int(p["step"])) for p in decoded.points] == [
        ("a", 0),
        ("b", 1),
        ("a", 2),
        ("b", 2),
    ]


def test_a_place_where_nothing_can_be_written_disturbs_nobody(tmp_path: Path) -> None:
    MetricsFile(str(tmp_path / "none" / "file")).write({"a": 1.0}, 0)


@pytest.mark.parametrize("values", [[], [1.0, 2.0]])
def test_tensors_of_several_numbers_are_none(tmp_path: Path, values: list[float]) -> None:
    import torch

    MetricsFile(str(tmp_path / "file")).write({"a": torch.tensor(values)}, 0)
    assert not (tmp_path / "file").exists()
