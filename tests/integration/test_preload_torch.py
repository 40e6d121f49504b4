"""Ranks forked from a template that has imported torch: independent, correct, and they meet."""

from __future__ import annotations

import pytest
from tests.support.preloading import Bench

from opengrid.core.spec import Program, ProgramKind
from opengrid.node.preload.connection import PreloadFailed
from opengrid.node.preload.messages import RankStart

SCRIPT = Program(kind=ProgramKind.SCRIPT, target="script.py")

MEET = """
    import os, torch, torch.distributed as dist
    dist.init_process_group("gloo")
    x = torch.tensor([float(dist.get_rank())])
    dist.all_reduce(x)
    print("sum", x.item(), flush=True)
"""


def gang(bench: Bench, size: int, port: int) -> list[RankStart]:
    return [
        bench.rank(
            SCRIPT,
            rank,
            WORLD_SIZE=str(size),
            LOCAL_RANK=str(rank),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            TORCHELASTIC_USE_AGENT_STORE="True",
            GLOO_SOCKET_IFNAME="lo",
            OMP_NUM_THREADS="1",
        )
        for rank in range(size)
    ]


def test_four_ranks_meet_in_the_store_process_generation_after_generation(torch_bench: Bench) -> None:
    torch_bench.write("script.py", MEET)
    for generation in (1, 2):
        port = torch_bench.launcher.open_store("127.0.0.1", "grid brave-otter store")
        assert torch_bench.launcher.store_met() is False
        assert torch_bench.finish(*gang(torch_bench, 4, port)) == 0
        assert [torch_bench.out(rank) for rank in range(4)] == ["sum 6.0\n" * generation] * 4
        assert torch_bench.launcher.store_met() is True
    assert {event.launch for event in torch_bench.started.values()} == {"fork"}


def test_ranks_meet_whose_template_has_no_torch(plain_bench: Bench) -> None:
    plain_bench.write("script.py", MEET)
    port = plain_bench.launcher.open_store("127.0.0.1", "grid brave-otter store")
    assert plain_bench.launcher.store_met() is False
    assert plain_bench.finish(*gang(plain_bench, 2, port)) == 0, plain_bench.err()
    assert [plain_bench.out(rank) for rank in range(2)] == ["sum 1.0\n"] * 2
    assert plain_bench.launcher.store_met() is True


def test_ranks_that_never_meet_are_noticed(torch_bench: Bench) -> None:
    torch_bench.write("script.py", "import torch\nprint(torch.ones(2).sum().item())")
    port = torch_bench.launcher.open_store("127.0.0.1", "grid brave-otter store")
    assert torch_bench.finish(*gang(torch_bench, 2, port)) == 0
    assert torch_bench.launcher.store_met() is False


def test_without_a_store_nobody_can_tell(torch_bench: Bench) -> None:
    assert torch_bench.launcher.store_met() is None


def test_a_store_on_an_address_that_is_not_ours_fails_with_the_reason(torch_bench: Bench) -> None:
    with pytest.raises(PreloadFailed, match="no rendezvous store"):
        torch_bench.launcher.open_store("no.such.host.invalid", "grid brave-otter store", timeout_s=1)


def test_ranks_have_independent_random_states(torch_bench: Bench) -> None:
    torch_bench.write(
        "script.py", "import random, torch, numpy as np\nprint(random.random(), torch.rand(1).item(), np.random.rand())"
    )
    assert torch_bench.finish(*(torch_bench.rank(SCRIPT, rank) for rank in range(3))) == 0, torch_bench.err()
    drawn = [torch_bench.out(rank).split() for rank in range(3)]
    assert all(len({numbers[i] for numbers in drawn}) == 3 for i in range(3)), drawn


def test_the_number_of_threads_is_the_variables(torch_bench: Bench) -> None:
    text = """
        import torch
        torch.set_num_interop_threads(1)  # refused once parallel work has started
        assert torch.get_num_threads() == 3
        layer = torch.nn.Linear(512, 512)
        layer(torch.randn(256, 512)).sum().backward()
        print("fine")
    """
    assert torch_bench.script(text, OMP_NUM_THREADS="3") == 0, torch_bench.err()
    assert torch_bench.started[0].launch == "fork"


def test_data_loaders_and_pools_work_in_every_start_method(torch_bench: Bench) -> None:
    text = """
        import os, multiprocessing as mp, torch
        from torch.utils.data import DataLoader, Dataset
        class D(Dataset):
            def __len__(self): return 8
            def __getitem__(self, i): return torch.tensor([i, os.getpid()])
        def square(x): return x * x
        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                pids = {int(b[1]) for b in DataLoader(D(), batch_size=None, num_workers=2,
                multiprocessing_context=method)}
                assert len(pids) == 2 and os.getpid() not in pids
            with mp.Pool(2) as pool: assert pool.map(square, [1, 2, 3]) == [1, 4, 9]
            print("fine")
    """
    assert torch_bench.script(text) == 0, torch_bench.err()
    assert torch_bench.out() == "fine\n"


def test_a_module_that_could_not_be_preloaded_is_told(torch_bench: Bench) -> None:
    assert torch_bench.launcher.ready.missing == {
        "no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"
    }
