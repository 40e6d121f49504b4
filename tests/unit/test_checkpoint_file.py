"""What a checkpoint's file tells without being unpickled: whether it is whole, and which words it holds."""

from __future__ import annotations

import contextlib
import io
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
    assert {"optimizer_states", "pytorch-lightning_version", "2.6"} <= words


@pytest.mark.parametrize("kept", [0, 1, 4, 8, 100, 3000, -1])
def test_a_file_that_was_cut_anywhere_is_torn(tmp_path: Path, kept: int) -> None:
    whole = saved(tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(whole[:kept])
    assert checkpoint_file.torn(tmp_path / "b.pt") is not None


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("harm",)


def test_a_pickle_is_read_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = checkpoint_file.words_of(saved(tmp_path / "a.pt", {"x": _Harmful()}))
    assert "harm" in words
    assert not (tmp_path / "harm").exists()


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


def test_bare_pickles_tell_their_end_and_their_words(tmp_path: Path) -> None:
    # torch's format before its zip files: some pickles, and then numbers.
    pickles = [pickle.dumps(part, protocol=2) for part in (1 << 90, 1001, {}, {"optimizer": 1}, ["0"])]
    path = tmp_path / "old.pt"
    path.write_bytes(b"".join(pickles) + b"\x80\x02" * 50)
    assert checkpoint_file.torn(path) is None
    assert "optimizer" in checkpoint_file.words_of(path)
    for whole in (b"".join(pickles), pickles[3]):
        path.write_bytes(whole[:-3])
        assert "its end is missing" in (checkpoint_file.torn(path) or "")


def test_a_bin_file_is_torn_only_when_torch_began_it_or_its_name_says_that_it_is_a_model(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("state/data.pkl", pickle.dumps({"optimizer": 1}, protocol=2))
    for name, content, is_torn in (
        ("state.bin", buffer.getvalue()[:-9], True),
        ("images.bin", buffer.getvalue().replace(b"data.pkl", b"0001.png")[:-9], False),
        ("images.bin", b"", False),
        ("pytorch_model.bin", b"", True),
        ("pytorch_model-00001-of-00002.bin", b"PK\x03\x04", True),
    ):
        (tmp_path / name).write_bytes(content)
        assert (checkpoint_file.torn(tmp_path / name) is not None) is is_torn, name


def test_a_large_bare_pickle_is_not_taken_for_a_cut_one(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    path.write_bytes(pickle.dumps({"optimizer": b"x" * (9 << 20)}))
    assert checkpoint_file.torn(path) is None


@pytest.mark.parametrize("name", ["tokens.bin", "note.pt"])
def test_other_formats_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02 and more" if name.endswith("bin") else b"some text")
    assert checkpoint_file.torn(tmp_path / name) is None


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_of_any_kind_is_no_crash(tmp_path: Path, compression: int) -> None:
    chance, path = random.Random(0), tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"optimizer": [1, 2.5, b"x"]}, protocol=2))
    whole, read = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(4, len(whole))] = chance.randrange(256)
        path.write_bytes(damaged)
        if checkpoint_file.torn(path) is None:
            read += checkpoint_file.damaged(path) is not None
            with contextlib.suppress(ValueError):
                checkpoint_file.words_of(path)
    assert read > 0, "some damage is found only by reading on"


@pytest.mark.parametrize("header", ["[]", "null", '{"a": 1}', '{"a": {"data_offsets": [0, "x"]}}', "[" * 100_000])
def test_a_header_of_safetensors_that_is_none_is_broken(tmp_path: Path, header: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    assert checkpoint_file.torn(path) == "its header is broken"


def test_a_flipped_bit_is_damage_unless_the_writer_left_checksums_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    assert checkpoint_file.damaged(path) is None
    content = bytearray(path.read_bytes())
    content[content.index(b"xxxx") + 2000] ^= 1
    path.write_bytes(content)
    assert checkpoint_file.torn(path) is None
    assert "its content is damaged" in (checkpoint_file.damaged(path) or "")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            checksum = struct.pack("<L", entry.CRC)
            path.write_bytes(path.read_bytes().replace(checksum, b"\0\0\0\0"))
    assert checkpoint_file.damaged(path) is None


def test_records_inside_a_file_are_read_each_for_itself(tmp_path: Path) -> None:
    record = saved(tmp_path / "a.pt").read_bytes()
    path, extents = tmp_path / "__0_0.distcp", [(0, len(record)), (len(record), len(record))]
    path.write_bytes(record * 2)
    assert checkpoint_file.damaged(path, extents) is None
    content = bytearray(record * 2)
    content[len(record) + content.index(b"xxxx") + 9] ^= 1
    path.write_bytes(content)
    assert checkpoint_file.damaged(path, extents[:1]) is None
    assert checkpoint_file.damaged(path, extents) is not None
