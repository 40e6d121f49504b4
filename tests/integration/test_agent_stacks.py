"""Real agents that are asked where their ranks are."""

from __future__ import annotations

import os
import re
import signal

from tests.support.agents import AgentBench
from tests.support.processes import is_alive

from opengrid.core.protocol import Exited, Phase, RankStacks, Started
from opengrid.core.spec import ProgramKind

HANG = """
import time

def hang():
    print("up", flush=True)
    time.sleep(600)

hang()
"""


def ask(bench: AgentBench, number: int) -> dict[int, RankStacks]:
    """Have all machines asked for stacks; return their answers by rank."""
    server = bench.server
    for machine, desired in list(server.desired.items()):
        server.tell(
            desired.generation,
            Phase.RUN,
            machine=machine,
            store_address=desired.store_address,
            store_port=desired.store_port,
            stacks=number,
        )
    server.until(lambda: len([s for _, s in server.stacks if s.number == number]) == len(server.desired), "stacks")
    return {one.rank: one for _, stacks in server.stacks if stacks.number == number for one in stacks.ranks}


def test_every_rank_tells_where_it_is_once_for_every_request(bench: AgentBench) -> None:
    bench.assign(HANG, ranks=(2, 2))
    bench.start()
    bench.run()
    for rank in range(4):
        bench.wait_for_log(b"up", rank, machine=rank // 2)
    for number in (1_000, 1_001):
        answers = ask(bench, number)
        assert sorted(answers) == [0, 1, 2, 3]
        for rank, answer in answers.items():
            assert answer.folder == os.path.realpath(bench.folder / f"work/node{rank // 2}")
            # What came of an earlier request is not sent again.
            assert len(re.findall(rf'"{answer.folder}/script.py", line \d in hang', answer.text)) == 1, answer
            assert answer.reason == ""
    # Whatever else the server says, an answered request stays answered.
    bench.server.stop_ranks(1, terminate=False, grace_s=0)
    bench.until_ended()
    bench.release()
    assert sorted((stacks.number, machine) for machine, stacks in bench.server.stacks) == [
        (number, machine) for number in (1_000, 1_001) for machine in (0, 1)
    ]


def test_ranks_that_cannot_answer_are_named_with_the_reason_and_go_on(bench: AgentBench) -> None:
    bench.assign(
        """
        import os, time
        if os.environ["RANK"] == "0":
            os.execvp("sh", ["sh", "-c", "echo up; exec sleep 600"])
        print("up", flush=True)
        if os.environ["RANK"] == "1":
            raise SystemExit
        time.sleep(600)
        """,
        ranks=(4,),
    )
    bench.start()
    bench.run()
    for rank in range(4):
        bench.wait_for_log(b"up", rank)
    bench.server.until(lambda: bool(bench.server.of(Exited)), "the exit of rank 1")
    pids = bench.server.of(Started)[0].pids
    os.kill(pids["2"], signal.SIGSTOP)
    answers = ask(bench, 7)
    reasons = [answers[rank].reason for rank in range(4)]
    assert "it runs another program" in reasons[0]
    assert reasons[1] == "it has ended"
    assert reasons[2].startswith("it did not answer within")
    assert "stopped by a signal" in reasons[2]
    assert (reasons[3], "script.py" in answers[3].text) == ("", True)
    assert [fact.rank for fact in bench.server.of(Exited)] == [1]
    assert all(is_alive(pids[rank]) for rank in ("0", "2", "3"))


def test_an_executable_is_not_asked(bench: AgentBench) -> None:
    bench.assign("echo up; exec sleep 600", kind=ProgramKind.EXECUTABLE, target="train.sh")
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    assert ask(bench, 1)[0].reason == "it is no Python program"
    assert is_alive(bench.server.of(Started)[0].pids["0"])
