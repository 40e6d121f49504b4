"""planning.root_cause: which rank failed first, and why; on messages of torch 2.13 with gloo."""

from __future__ import annotations

from typing import Any

import pytest

from opengrid.core.codec import from_json
from opengrid.core.records.attempts import RankExit
from opengrid.core.records.experiments import Memory, RootCause
from opengrid.planning.layout import lay_out, plain_node
from opengrid.planning.root_cause import find_root_cause

GANG = lay_out(8, 4, cpus=8, ranks=4)
MS = 1_000_000

GLOO = "[/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/"
ADVICE = "Check the logs of the remote worker before reporting an error. GLHF! 🏖️"
CLOSED = f"RuntimeError: {GLOO}pair.cc:553] Connection closed by peer [127.0.0.1]:29842. This is typically caused by a remote worker crashing. {ADVICE}"  # noqa: E501
RESET = f"RuntimeError: {GLOO}pair.cc:537] Read error [127.0.0.1]:38608: Connection reset by peer. This is typically caused by a remote worker hanging or bugs in the application. {ADVICE}"  # noqa: E501
TIMED_OUT = f"RuntimeError: {GLOO}unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation to complete"
STORE = "DistNetworkError: Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown?"
WAITING = "DistStoreError: wait timeout after 4000ms, keys: /default_pg/0//cpu//0/0"
LISTEN = "DistNetworkError: The server socket has failed to listen on any local network address"
PRODUCT = "ValueError: You set `devices=8` and `num_nodes=2` in Lightning, but the product"
MESH = f"RuntimeError: Gloo connectFullMesh failed with {GLOO}pair.cc:144] no error"


def ended(rank: int, code: int, at_ms: float, exception: str | None = None, **more: Any) -> RankExit:
    return RankExit(
        attempt_id="x-1", generation=1, rank=rank, exit_code=code, at_ns=int(at_ms * MS), exception=exception, **more
    )


@pytest.mark.parametrize(
    "message", [CLOSED, RESET, TIMED_OUT, STORE, WAITING, MESH, "BrokenPipeError: [Errno 32] Broken pipe"]
)
def test_who_only_lost_a_connection_is_a_victim_even_when_it_ended_first(message: str) -> None:
    exits = [
        ended(0, 1, 10, message),
        ended(5, 1, 40, "ValueError: bad lr", frame="train.py:12 in main"),
        ended(2, 0, 5),
    ]
    cause = find_root_cause(GANG, exits)
    assert (cause.rank, cause.node, cause.machine, cause.exit_code) == (5, 1, 1, 1)
    assert cause.summary == "rank 5 failed: ValueError: bad lr (train.py:12 in main)"
    assert (cause.exception, cause.frame, cause.signal) == ("ValueError: bad lr", "train.py:12 in main", None)
    assert cause.victims == (0,)


def test_a_victim_is_recognised_by_its_log_when_it_left_no_exception() -> None:
    log = f"step 7\n[rank0]: Traceback (most recent call last):\n[rank0]:     work.wait()\n[rank0]: {CLOSED}\n"
    aborted = "terminate called after throwing 'gloo::IoException'\n  what():  [pair.cc:553] Connection reset by peer"
    exits = [ended(0, 1, 1, log_tail=log), ended(1, -6, 2, log_tail=aborted), ended(2, 3, 9, log_tail="step 7")]
    cause = find_root_cause(GANG, exits)
    assert (cause.rank, cause.victims) == (2, (0, 1))
    assert cause.summary == "rank 2 exited with code 3"


def test_an_older_line_about_a_connection_makes_no_victim() -> None:
    log = "retrying: Connection reset by peer\nTraceback (most recent call last):\nKeyError: 'image'\n"
    cause = find_root_cause(GANG, [ended(0, 1, 5, log_tail=log), ended(1, 1, 9, CLOSED)])
    assert (cause.rank, cause.exception) == (0, "KeyError: 'image'")


def test_sigkill_first_is_the_cause_and_the_neighbours_are_victims() -> None:
    exits = [
        ended(3, -9, 100),
        *(ended(r, 1, 110 + r, RESET) for r in (0, 1, 2)),
        *(ended(r, -9, 420) for r in (4, 5, 6, 7)),
    ]
    cause = find_root_cause(GANG, exits)
    assert (cause.rank, cause.signal, cause.exit_code) == (3, "SIGKILL", -9)
    assert cause.summary == "rank 3 was killed by SIGKILL"
    assert "out-of-memory killer" in (cause.hint or "")
    assert cause.victims == (0, 1, 2, 4, 5, 6, 7)


def test_ranks_that_we_killed_after_the_settle_window_are_victims() -> None:
    cause = find_root_cause(GANG, [ended(0, 1, 0, "OSError: no"), ended(1, -9, 305), ended(2, -9, 40)])
    assert cause.rank == 0
    assert cause.victims == (1,)


def test_a_victim_is_named_when_no_rank_says_why() -> None:
    exits = [ended(1, 1, 9, TIMED_OUT), ended(0, 1, 5, TIMED_OUT), ended(2, -9, 400), ended(3, -9, 400)]
    cause = find_root_cause(GANG, exits)
    assert (cause.rank, cause.victims) == (0, (1, 2, 3))
    assert "did not take part" in (cause.hint or "")
    assert "no rank says why" in (find_root_cause(GANG, [ended(1, 1, 9, CLOSED)]).hint or "")


@pytest.mark.parametrize("message", [CLOSED, TIMED_OUT, WAITING, STORE])
def test_a_rank_that_left_its_victims_with_exit_code_0_is_the_cause(message: str) -> None:
    exits = [ended(5, 0, 90), ended(3, 0, 95), *(ended(r, 1, 100 + r, message) for r in (0, 1)), ended(2, -9, 500)]
    cause = find_root_cause(GANG, exits)
    assert cause.summary == ("rank 5 left early: it exited with code 0 while other ranks needed it, and so did 1 more")
    assert (cause.rank, cause.exit_code, cause.signal, cause.victims) == (5, 0, None, (0, 1, 2))
    assert "same steps" in (cause.hint or "")


def test_who_exits_with_0_after_the_failure_or_besides_a_real_one_has_not_left_early() -> None:
    assert find_root_cause(GANG, [ended(0, 1, 10, CLOSED), ended(5, 0, 150)]).rank == 0
    assert find_root_cause(GANG, [ended(0, 1, 10, CLOSED), ended(5, 0, 12)]).rank == 5  # clocks are not that exact
    assert find_root_cause(GANG, [ended(5, 0, 5), ended(0, 1, 10, CLOSED), ended(1, 1, 12, "KeyError: 1")]).rank == 1


def test_a_rank_that_never_joined_is_named_by_those_who_waited_for_it() -> None:
    keys = "DistStoreError: wait timeout after 3000ms, keys: /default_pg/0//cpu//0/5"
    exits = [*(ended(r, 1, r, keys) for r in (0, 1, 2, 3)), *(ended(r, -9, 400, log_tail="#\n") for r in (4, 5, 6))]
    cause = find_root_cause(GANG, exits)
    assert cause.summary == (
        "rank 5 never joined: it was still at something else when the others had waited for it in vain"
    )
    assert (cause.rank, cause.exit_code, cause.signal, cause.log_tail) == (5, None, None, "#\n")
    assert cause.victims == (0, 1, 2, 3, 4, 6)
    assert "--rank 5" in (cause.hint or "")


@pytest.mark.parametrize("message", [TIMED_OUT, "RuntimeError: Socket Timeout"])
def test_the_only_rank_that_still_ran_when_the_others_had_waited_did_not_take_part(message: str) -> None:
    cause = find_root_cause(GANG, [*(ended(r, 1, r, message) for r in range(7)), ended(7, -9, 400)])
    assert cause.summary.startswith("rank 7 did not take part")
    assert "skipped a collective" in (cause.hint or "")


def test_of_several_that_still_ran_the_one_at_another_line_did_not_take_part() -> None:
    waiting = [*(ended(r, 1, r, TIMED_OUT, frame="t.py:7") for r in range(3)), ended(3, -9, 400), ended(4, -9, 401)]
    exits = [*waiting, ended(5, -9, 402, frame="t.py:7"), ended(6, -9, 403, frame="t.py:5 in load")]
    cause = find_root_cause(GANG, exits)
    assert (cause.rank, cause.frame) == (6, "t.py:5 in load")
    assert cause.summary.startswith("rank 6 did not take part")
    assert cause.summary.endswith("in vain (t.py:5 in load)")
    assert find_root_cause(GANG, exits[:-1]).rank == 0


def test_a_rank_that_only_lost_a_connection_does_not_make_one_that_still_ran_the_cause() -> None:
    assert find_root_cause(GANG, [ended(0, 1, 0, CLOSED), ended(1, -9, 400)]).rank == 0


def test_a_rank_that_reached_nobody_is_the_cause_when_the_others_met() -> None:
    alone = "DistNetworkError: The client socket has timed out after 3000ms while trying to connect to (10.0.0.1, 1)."
    cause = find_root_cause(GANG, [*(ended(r, 1, r, WAITING) for r in range(7)), ended(7, 1, 9, alone)])
    assert (cause.rank, cause.exit_code) == (7, 1)
    assert "MASTER_ADDR" in (cause.hint or "")
    assert find_root_cause(GANG, [ended(7, 1, 9, alone), ended(6, -9, 400)]).rank == 7
    assert find_root_cause(GANG, [ended(r, 1, r, alone) for r in range(8)]).rank == 0


def test_the_kernels_killer_is_named_only_with_evidence() -> None:
    cause = find_root_cause(GANG, [ended(6, -9, 1, oom_killed=True), ended(0, 1, 5, CLOSED)])
    assert cause.summary == "rank 6 was killed by the kernel's out-of-memory killer"
    assert (cause.signal, cause.exit_code) == ("SIGKILL", -9)
    assert "had no memory left" in (cause.hint or "")
    for evidence in (False, None):
        cause = find_root_cause(GANG, [ended(6, -9, 1, oom_killed=evidence), ended(0, 1, 5, CLOSED)])
        assert cause.summary == "rank 6 was killed by SIGKILL"
        assert "dmesg" in (cause.hint or "")


def test_the_memory_of_the_rank_goes_along() -> None:
    cause = find_root_cause(GANG, [ended(6, 1, 1, peak_mib=812, available_mib=20_000)])
    assert cause.memory == Memory(peak_mib=812, available_mib=20_000)
    assert find_root_cause(GANG, [ended(6, 1, 1)]).memory is None


def test_a_root_cause_that_was_stored_before_memory_was_told_can_be_read() -> None:
    assert from_json(RootCause, {"summary": "rank 0 failed", "rank": 0}) == RootCause(summary="rank 0 failed", rank=0)


def test_sys_exit_is_told_as_an_exit_code_with_its_place() -> None:
    cause = find_root_cause(GANG, [ended(3, 3, 1, "SystemExit: 3", frame="train.py:7 in main")])
    assert cause.summary == "rank 3 exited with code 3 (train.py:7 in main)"


def test_ends_closer_than_the_clocks_allow_are_ordered_by_what_they_say() -> None:
    exits = [
        ended(0, 1, 10.0),
        ended(1, 1, 10.5, "KeyError: 'x'"),
        ended(4, -9, 11.0),
        ended(5, 1, 30, "KeyError: 'x'"),
    ]
    assert find_root_cause(GANG, exits).rank == 0
    assert find_root_cause(GANG, exits, clock_uncertainty_ns=2 * MS).rank == 4
    assert find_root_cause(GANG, exits[:2], clock_uncertainty_ns=2 * MS).rank == 1


def test_the_same_failure_on_all_ranks_is_said_once() -> None:
    exits = [ended(r, 1, r, "ModuleNotFoundError: No module named 'einops'", frame="train.py:3") for r in range(8)]
    cause = find_root_cause(GANG, exits)
    assert cause.summary == (
        "rank 0 failed: ModuleNotFoundError: No module named 'einops' (train.py:3); 7 other ranks failed alike"
    )
    assert "does not have einops" in (cause.hint or "")
    assert cause.victims == ()


def test_a_single_rank_is_the_program() -> None:
    cause = find_root_cause(plain_node(cpus=2, ranks=1), [ended(0, -11, 1)])
    assert (cause.summary, cause.signal) == ("the program was killed by SIGSEGV", "SIGSEGV")


def test_a_real_time_signal_has_a_name_too() -> None:
    assert find_root_cause(GANG, [ended(0, -45, 1)]).signal


def test_only_the_first_line_of_a_long_message_is_in_the_summary() -> None:
    cause = find_root_cause(GANG, [ended(0, 1, 1, "RuntimeError: " + "x" * 1000 + "\nsecond line")])
    assert len(cause.summary) < 300
    assert "second" not in cause.summary


@pytest.mark.parametrize(
    ("exception", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "smaller batch"),
        ("ModuleNotFoundError: No module named 'timm.models'", "timm.models"),
        (f"{LISTEN}. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, address already in use", "MASTER_PORT"),
        ("MisconfigurationException: No supported gpu backend found!", "no GPU"),
        ("AssertionError: Torch not compiled with CUDA enabled", "no GPU"),
        ("RuntimeError: Distributed package doesn't have NCCL built in", "gloo"),
        ("EOFError: EOF when reading a line", "keyboard"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/stl10/train.bin'", "/data/stl10/train.bin"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'conf.yaml'", "conf.yaml is not in the tree"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x,grid:stl10:1'", "whole argument"),
        (f"{PRODUCT} (8 * 2) does not match the world size (8).", "devices=4, num_nodes=2"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("RuntimeError: DataLoader worker (pid(s) 18939) exited unexpectedly", "num_workers=0"),
        ("bdb.BdbQuit", "keyboard"),
        ("RuntimeError: [enforce fail at gloo] ifa != nullptr. Unable to find address for: eth7", "interface eth7"),
        (f"{MESH.removesuffix('no error')}timed out connecting: SO_ERROR", "firewall"),
        ("gaierror: [Errno -2] Name or service not known", "by its name"),
        ("URLError: <urlopen error [Errno -3] Temporary failure in name resolution>", "by its name"),
        ("UnpicklingError: Weights only load failed. WeightsUnpickler error: Unsupported global: x.Y", "weights_only"),
        ("UnpicklingError: invalid load key, 'v'.", "damaged"),
        ("RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory", "damaged"),
        ("UnidentifiedImageError: cannot identify image file '/x.png'", "damaged"),
    ],
)  # fmt: skip
def test_a_known_failure_has_a_hint(exception: str, words: str) -> None:
    assert words in (find_root_cause(GANG, [ended(0, 1, 1, exception)]).hint or "")


def test_an_option_that_the_script_does_not_know_has_a_hint() -> None:
    log = "usage: train.py [-h] [--lr LR]\ntrain.py: error: unrecognized arguments: --instance_type 4_v100\n"
    cause = find_root_cause(GANG, [ended(0, 2, 1, log_tail=log)])
    assert "does not know --instance_type 4_v100" in (cause.hint or "")


def test_the_errors_of_a_torchrun_inside_a_shell_script_are_found() -> None:
    log = "[rank1]: ValueError: bad lr\nTraceback (most recent call last):\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n=====\ntrain.py FAILED\n"  # noqa: E501
    assert find_root_cause(GANG, [ended(0, 1, 1, log_tail=log)]).exception == "ValueError: bad lr"


@pytest.mark.parametrize(
    ("code", "words"), [(127, "was not found"), (126, "chmod"), (-7, "/dev/shm"), (-15, "grid stop")]
)
def test_some_exit_codes_have_a_hint(code: int, words: str) -> None:
    assert words in (find_root_cause(GANG, [ended(0, code, 1)]).hint or "")


def test_an_unknown_failure_has_no_hint() -> None:
    assert find_root_cause(GANG, [ended(0, 1, 1, "ValueError: bad lr {x}")]).hint is None


def test_braces_in_a_message_do_not_upset_the_hint() -> None:
    assert "{a}" in (
        find_root_cause(GANG, [ended(0, 1, 1, "FileNotFoundError: No such file or directory: '/{a}'")]).hint or ""
    )


def test_without_a_failed_rank_there_is_no_cause() -> None:
    with pytest.raises(ValueError, match="no rank failed"):
        find_root_cause(GANG, [ended(0, 0, 1)])


@pytest.mark.parametrize(("exception", "code"), [("ValueError: bad lr", 1), ("SystemExit: 3", 3)])
def test_a_rank_that_was_still_leaving_with_its_exception_is_the_cause_and_not_who_missed_it(
    exception: str, code: int
) -> None:
    leaving = ended(5, -9, 400, exception, frame="train.py:12")
    cause = find_root_cause(GANG, [ended(4, 1, 10, CLOSED), leaving, ended(6, -9, 400), ended(7, -9, 400, CLOSED)])
    assert (cause.rank, cause.exit_code, cause.signal) == (5, code, None)
    assert cause.victims == (4, 6, 7)


def test_a_program_that_catches_its_exceptions_and_exits_is_known_by_what_it_caught() -> None:
    def caught(message: str) -> str:
        return (
            f"Traceback (most recent call last):\n  x\n{message}\n\nDuring handling of …\nSystemExit: 1\nsaving logs\n"
        )

    exits = [
        ended(0, 1, 10, "SystemExit: 1", log_tail=caught(CLOSED)),
        ended(5, 1, 30, "SystemExit: 1", log_tail=caught("ValueError: bad lr")),
    ]
    cause = find_root_cause(GANG, exits)
    assert (cause.rank, cause.summary, cause.victims) == (5, "rank 5 failed: ValueError: bad lr", (0,))
    assert (cause.exception, cause.exit_code) == ("ValueError: bad lr", 1)
