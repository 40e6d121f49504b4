"""The examples, as a reader runs them: without OpenGrid."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder: Path, module: str | None, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example in `folder`, by itself or by a module such as torch.distributed.run."""
    by = ["-m", *module.split()] if module else []
    command = [sys.executable, *by, str(EXAMPLES / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=170, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that make_stl10.py makes."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("data")
    done = run(folder, None, "make_stl10.py")
    assert done.returncode == 0, done.stderr
    return folder / "stl10"


def losses(text: str) -> list[float]:
    """Return the losses that the training printed, epoch by epoch."""
    return [float(loss) for loss in re.findall(r"^epoch .* loss ([\d.]+)$", text, flags=re.MULTILINE)]


def test_the_data_says_what_it_really_is(data: Path) -> None:
    about = json.loads((data / "data.json").read_text())
    assert "stand-in for STL-10" in about["description"]
    assert "1,797 handwritten digits" in about["description"]


@pytest.mark.parametrize(
    ("module", "arguments", "ranks"),
    [
        pytest.param(None, (), 1, id="alone", marks=pytest.mark.full),
        pytest.param("torch.distributed.run --standalone --nproc_per_node 2", ("--gpus", "2"), 2, id="torchrun"),
    ],
)
def test_the_vae_learns_and_leaves_its_results(
    data: Path, tmp_path: Path, module: str | None, arguments: tuple[str, ...], ranks: int
) -> None:
    pytest.importorskip("lightning")
    done = run(
        tmp_path,
        module,
        "torch_elastic_vae.py",
        *arguments,
        "--accelerator",
        "cpu",
        "--max_epochs",
        "3",
        "--data_path",
        str(data),
    )
    assert done.returncode == 0, done.stderr
    assert f"1797 images, {ranks} ranks" in done.stdout
    assert "handwritten digits" in done.stdout
    first, second, third = losses(done.stdout)
    assert first > second > third
    results = tmp_path / "lightning_logs" / "version_0"
    assert json.loads((results / "config.json").read_text())["gpus"] == ranks
    assert {path.name for path in (results / "checkpoints").iterdir()} == {"best-epoch=2.ckpt", "last.ckpt"}
    assert list(results.glob("events.out.tfevents.*"))
    assert not (tmp_path / "lightning_logs" / "version_1").exists()


@pytest.mark.full
def test_the_vae_refuses_gpus_that_its_nodes_cannot_share_equally(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    done = run(tmp_path, None, "torch_elastic_vae.py", "--gpus", "3", "--num_nodes", "2")
    assert done.returncode == 2
    assert "--gpus 3 cannot be shared equally by --num_nodes 2" in done.stderr


@pytest.mark.full
def test_the_minimal_script_ends_with_the_same_weights_on_all_ranks(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = run(tmp_path, "torch.distributed.run --standalone --nproc_per_node 2", "ddp_minimal.py")
    assert done.returncode == 0, done.stderr
    # Both ranks write to one pipe, a line and its end apart: two lines may stand on one.
    found = dict(re.findall(r"rank (\d) of 2 on \w+: (y = [-\d.]+ x \+ [-\d.]+)", done.stdout))
    assert set(found) == {"0", "1"}
    assert found["0"] == found["1"]
