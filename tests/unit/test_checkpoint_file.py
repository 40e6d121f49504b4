"""What a checkpoint's file tells without being unpickled: whether it is whole, and which words it holds."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import pytest

from opengrid.core import checkpoint_file


def saved(path: Path, content: object = None) -> Path:
    """Write what torch.save writes, as far as its layout goes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content or {"state_dict": {}, "epoch": 3}, protocol=2))
        archive.writestr("archive/data/0", b"x" * 5000)
    return path


def test_a_whole_file_is_whole_and_its_words_are_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"optimizer_states": [1], "pytorch-lightning_version": "2.6"})
    assert checkpoint_file.torn(path) is None
    words = checkpoint_file.words_of(path)
    assert words is not None
    assert {"optimizer_states", "pytorch-lightning_version", "2.6"} <= words


@pytest.mark.parametrize("kept", [0, 1, 4, 8, 100, 3000, -1])
def test_a_file_that_was_cut_anywhere_is_torn(tmp_path: Path, kept: int) -> None:
    whole = saved(tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(whole[:kept])
    assert checkpoint_file.torn(tmp_path / "b.pt") is not None
    assert checkpoint_file.words_of(tmp_path / "b.pt") is None


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("harm",)


def test_a_pickle_is_read_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = checkpoint_file.words_of(saved(tmp_path / "a.pt", {"x": _Harmful()}))
    assert words is not None
    assert "harm" in words
    assert not (tmp_path / "harm").exists()


def test_a_pickle_without_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pickle exhausted|expected|not enough"):
        checkpoint_file.words_in(pickle.dumps({"a": "b" * 500})[:-300])


def test_safetensors_tell_their_length(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", len(header)) + header + b"\0" * 8
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert checkpoint_file.torn(path) is None
    for kept, problem in ((len(content) - 1, "1 bytes are missing"), (20, "its header is cut"), (3, "shorter")):
        path.write_bytes(content[:kept])
        assert problem in (checkpoint_file.torn(path) or "")


def test_the_name_that_a_file_was_saved_under_counts(tmp_path: Path) -> None:
    path = tmp_path / ("0" * 64)
    path.write_bytes(struct.pack("<Q", 900) + b"{")
    assert checkpoint_file.torn(path) is None
    assert checkpoint_file.torn(path, "model.safetensors") == "its header is cut"


def test_other_formats_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "plain.pt").write_bytes(pickle.dumps([1, 2, 3])[:-1])
    assert checkpoint_file.torn(tmp_path / "plain.pt") is None


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_of_any_kind_is_no_crash(tmp_path: Path, compression: int) -> None:
    chance, path = random.Random(0), tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"optimizer": [1, 2.5, b"x"]}, protocol=2))
    whole, read = path.read_bytes(), 0
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(4, len(whole))] = chance.randrange(256)
        path.write_bytes(damaged)
        read += checkpoint_file.torn(path) is None and checkpoint_file.words_of(path) is None
    assert read > 0, "some damage is found only by reading on"


@pytest.mark.parametrize("header", ["[]", "null", '{"a": 1}', '{"a": {"data_offsets": [0, "x"]}}', "[" * 100_000])
def test_a_header_of_safetensors_that_is_none_is_broken(tmp_path: Path, header: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    assert checkpoint_file.torn(path) == "its header is broken"
