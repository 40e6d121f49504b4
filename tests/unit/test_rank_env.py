"""The environment of a rank, as a value."""

from __future__ import annotations

import dataclasses

import pytest

from opengrid.core.gang import Gang, Node
from opengrid.core.rank_env import OUR_VARIABLES, Identity, Meeting, Trainer, rank_environment

IDENTITY = Identity(
    experiment_id="e1",
    experiment="brave-otter",
    user="u1",
    cluster="local",
    instance_type="4_v100",
    attempt=2,
    generation=3,
    max_restarts=5,
    resume_from="/work/last.pt",
    resume_kind="lightning",
)
TRAINER = Trainer(gpu=True, root="/out", progress_file="/p", metrics_file="/m")
MEETING = Meeting(address="10.0.0.7", port=4711, interface="eth1")


def gang(nodes: int = 2, ranks: int = 4) -> Gang:
    return Gang(nodes=tuple(Node(index=i, machine=i, gpus=ranks, cpus=2 * ranks, ranks=ranks) for i in range(nodes)))


def environment(of: Gang, rank: int, user: dict[str, str] | None = None, **changes: object) -> dict[str, str]:
    place = list(of.ranks())[rank]
    given = {"identity": IDENTITY, "meeting": MEETING, "error_file": "/e.json", **changes}
    return rank_environment(user or {}, gang=of, place=place, **given)  # type: ignore[arg-type]


def test_positions_are_torchs() -> None:
    got = environment(gang(), 6)
    expected = {
        "RANK": "6",
        "LOCAL_RANK": "2",
        "GROUP_RANK": "1",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_WORLD_SIZE": "2",
    }
    assert {name: got[name] for name in expected} == expected
    assert (got["ROLE_RANK"], got["ROLE_WORLD_SIZE"], got["ROLE_NAME"]) == ("6", "8", "default")


def test_restarts_count_generations_after_the_first() -> None:
    got = environment(gang(), 0)
    assert (got["TORCHELASTIC_RESTART_COUNT"], got["TORCHELASTIC_MAX_RESTARTS"], got["GRID_GENERATION"]) == (
        "2",
        "5",
        "3",
    )


def test_ranks_are_told_what_to_go_on_from_when_there_is_something() -> None:
    assert environment(gang(), 0)["GRID_RESUME_FROM"] == "/work/last.pt"
    fresh = dataclasses.replace(IDENTITY, resume_from=None, resume_kind=None)
    assert "GRID_RESUME_FROM" not in environment(gang(), 0, identity=fresh)


@pytest.mark.parametrize(
    ("ranks", "threads", "user", "expected"),
    [(4, None, {}, "1"), (1, None, {}, None), (1, 2, {}, "2"), (4, 0, {}, "1"), (4, 2, {"OMP_NUM_THREADS": "7"}, "7")],
)
def test_threads_follow_torchruns_rule_unless_a_share_or_the_user_says_otherwise(
    ranks: int, threads: int | None, user: dict[str, str], expected: str | None
) -> None:
    assert environment(gang(2, ranks), 0, user, threads=threads).get("OMP_NUM_THREADS") == expected


def test_a_program_that_does_not_meet_gets_no_address() -> None:
    got = environment(gang(), 0, meeting=None)
    assert not {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "GLOO_SOCKET_IFNAME"} & got.keys()


def test_lightning_gets_defaults_that_the_user_may_overrule() -> None:
    got = environment(gang(), 0, {"PL_TRAINER_STRATEGY": "fsdp"}, trainer=dataclasses.replace(TRAINER, gpu=False))
    assert got["PL_TRAINER_NUM_NODES"] == "2"
    assert got["PL_TRAINER_DEVICES"] == "4"
    assert got["PL_TRAINER_ACCELERATOR"] == "cpu"
    assert got["PL_TRAINER_DEFAULT_ROOT_DIR"] == "/out"
    assert got["PL_TRAINER_STRATEGY"] == "fsdp"


def test_one_rank_gets_no_strategy() -> None:
    assert "PL_TRAINER_STRATEGY" not in environment(gang(1, 1), 0, trainer=TRAINER)


def test_our_folders_come_before_the_users() -> None:
    assert environment(gang(), 0, {"PYTHONPATH": "/mine"}, folders=("/a", "/b"))["PYTHONPATH"] == "/a:/b:/mine"
    assert environment(gang(), 0, {"PYTHONPATH": "/mine"})["PYTHONPATH"] == "/mine"


def test_packages_of_the_run_come_behind_the_users_folders_and_their_commands_first() -> None:
    got = environment(gang(), 0, {"PYTHONPATH": "/mine", "PATH": "/bin"}, folders=("/a",), overlay="/over")

    assert got["PYTHONPATH"] == "/a:/mine:/over"
    assert got["PATH"] == "/over/bin:/bin"


def test_the_user_cannot_break_ranks_but_keeps_everything_else() -> None:
    got = environment(
        gang(), 1, {"RANK": "99", "MINE": "1", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "3", "NCCL_SOCKET_IFNAME": "ib0"}
    )
    assert (got["RANK"], got["MINE"], got["TORCH_NCCL_ASYNC_ERROR_HANDLING"], got["NCCL_SOCKET_IFNAME"]) == (
        "1",
        "1",
        "3",
        "ib0",
    )


def test_weights_and_biases_goes_on_in_the_same_run_and_ranks_do_not_share_one() -> None:
    identity = dataclasses.replace(IDENTITY, experiment="brave-otter-exp3")
    first, fifth = environment(gang(), 0, identity=identity), environment(gang(), 5, identity=identity)
    wanted = {"WANDB_RUN_GROUP": "brave-otter", "WANDB_NAME": "brave-otter-exp3", "WANDB_RUN_ID": "e1"}
    assert {name: first[name] for name in wanted} == wanted
    assert (fifth["WANDB_RUN_ID"], fifth["WANDB_NAME"]) == ("e1-rank5", "brave-otter-exp3-rank5")
    later = dataclasses.replace(identity, attempt=9, generation=9)
    assert environment(gang(), 0, identity=later)["WANDB_RUN_ID"] == "e1"
    assert environment(gang(), 0, {"WANDB_RUN_ID": "mine"})["WANDB_RUN_ID"] == "mine"


def test_every_variable_of_ours_is_documented() -> None:
    got = environment(gang(), 0, trainer=TRAINER, folders=("/a",))
    torch = {
        name
        for name in got
        if name.startswith(("TORCH", "ROLE_", "GROUP_", "MASTER_", "LOCAL_"))
        or name in ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS")
    }
    assert set(got) - torch == set(OUR_VARIABLES)
