"""A rank's environment is torchrun's, plus a documented list: compared with the torchrun that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.preloading import Bench

from opengrid.core.gang import Gang, Node
from opengrid.core.rank_env import OUR_VARIABLES, Identity, Meeting, Trainer, rank_environment
from opengrid.core.spec import Program, ProgramKind
from opengrid.node.preload.messages import RankStart

PRINT = "import json, os; json.dump(dict(os.environ), open(f\"env.{os.environ['RANK']}.json\", 'w'))"

#: Other values every time; must be there, and look alike.
PER_RUN = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"}

USER = {
    "PATH": os.environ["PATH"],
    "HOME": os.environ.get("HOME", "/"),
    "LANG": "C.UTF-8",
    "LC_CTYPE": "C.UTF-8",
    "MINE": "1",
}


def test_a_rank_sees_what_torchrun_sets_and_nothing_undocumented(torch_bench: Bench) -> None:
    directory = torch_bench.directory
    torch_bench.write("script.py", PRINT)
    theirs = _under_torchrun(directory)
    ours = _under_grid(torch_bench)
    for rank in (0, 1):
        missing = theirs[rank].keys() - ours[rank].keys()
        assert not missing, f"torchrun sets {missing}"
        different = {n for n, value in theirs[rank].items() if ours[rank][n] != value} - PER_RUN
        assert not different, {n: (theirs[rank][n], ours[rank][n]) for n in different}
        undocumented = ours[rank].keys() - theirs[rank].keys() - OUR_VARIABLES.keys()
        assert not undocumented
        assert ours[rank]["MASTER_PORT"].isdigit()
        assert os.path.isabs(ours[rank]["TORCHELASTIC_ERROR_FILE"])


def _under_torchrun(directory: Path) -> list[dict[str, str]]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "script.py"]
    subprocess.run(torchrun, cwd=directory, env=USER, check=True, capture_output=True)
    return _printed(directory)


def _under_grid(bench: Bench) -> list[dict[str, str]]:
    gang = Gang(nodes=(Node(index=0, machine=0, gpus=2, cpus=4, ranks=2),))
    starts: list[RankStart] = []
    for place in gang.ranks():
        environment = rank_environment(
            USER,
            gang=gang,
            place=place,
            identity=Identity(
                experiment_id="e", experiment="n", user="u", cluster="c", instance_type="t", attempt=1, generation=1
            ),
            meeting=Meeting(address="127.0.0.1", port=1234, interface="lo"),
            error_file=str(bench.directory / "error.json"),
            trainer=Trainer(
                gpu=False,
                root=str(bench.directory),
                progress_file=str(bench.directory / "progress"),
                metrics_file=str(bench.directory / "metrics"),
            ),
        )
        start = bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py"), place.rank)
        starts.append(replace(start, environment=environment))
    assert bench.finish(*starts) == 0, bench.err()
    assert bench.started[0].launch == "fork", bench.started[0].reason
    return _printed(bench.directory)


def _printed(directory: Path) -> list[dict[str, str]]:
    files = [directory / f"env.{rank}.json" for rank in (0, 1)]
    documents = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return documents


def test_the_environment_of_a_fork_is_in_os_environ_and_in_its_children(torch_bench: Bench) -> None:
    assert (
        torch_bench.script(
            "import os\nos.system('echo $MINE $GRID_TEMPLATE')\nassert 'GRID_TEMPLATE' not in os.environ", MINE="here"
        )
        == 0
    )
    assert torch_bench.out() == "here\n"
