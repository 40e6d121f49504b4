"""`grid run --config`, typed."""

from __future__ import annotations

from pathlib import Path

from tests.support.grid import Grid

SCRIPT = "import os, sys\nprint(sys.argv[1:], os.environ['GREETING'], os.environ['N'])"

CONFIG = """
compute:
  train:
    instance: 2_cpu_4gb
    framework: torch
    storage_gb: 200
    environment: {GREETING: hello, N: 1}
hyper_params:
  settings: {strategy: grid_search}
  params: {--lr: [0.1, 0.2], --name: two words}
"""


def test_a_file_says_what_options_and_arguments_do_and_the_command_line_wins(grid: Grid, folder: Path) -> None:
    (folder / "show.py").write_text(SCRIPT)
    (folder / "grid.yml").write_text(CONFIG)
    done = grid.call(
        *("run", "-o", "json", "--detach", "--config", "grid.yml", "--framework", "lightning", "--env", "N=2"),
        *("show.py", "--first"),
        cwd=folder,
    )
    assert done.code == 0, done
    assert "--framework lightning of the command line wins over torch in grid.yml, line 5" in done.err
    assert "grid.yml, line 6: compute.train.storage_gb has no effect" in done.err
    names = [f"{grid.json('history')['runs'][0]['run']}-exp{i}" for i in range(2)]
    for name, lr in zip(names, ("0.1", "0.2"), strict=True):
        ended = grid.ended(name)
        assert ended["state"] == "succeeded", ended
        assert ended["params"] == {"first": True, "lr": float(lr), "name": "two words"}
        assert grid.log(name).decode().strip().endswith(f"['--first', '--lr', '{lr}', '--name', 'two words'] hello 2")


def test_a_file_that_is_wrong_starts_nothing(grid: Grid, folder: Path) -> None:
    (folder / "show.py").write_text(SCRIPT)
    before = grid.json("history")["runs"]
    for text, said in (
        ("compute: {train: {gpu: 1}}", "bad.yml, line 1: there is no key compute.train.gpu"),
        ("compute: {train: {gpus: many}}", "many"),
        ("compute: {train: {instance: 4_v200}}", "4_v200"),
    ):
        (folder / "bad.yml").write_text(text)
        refused = grid.call("run", "--config", "bad.yml", "show.py", cwd=folder)
        assert (refused.code, said in refused.err) == (2, True), refused
    refused = grid.call("run", "--config", "absent.yml", "show.py", cwd=folder)
    assert (refused.code, "absent.yml: No such file" in refused.err) == (2, True), refused
    assert grid.json("history")["runs"] == before
