"""Which of an experiment's artifacts are checkpoints, and which of those are complete."""

from __future__ import annotations

import pytest

from opengrid.core.records.artifacts import Artifact
from opengrid.planning.checkpoints import Candidate, find_candidates, missing_pieces


def artifact(path: str, modified_us: int = 0, node: int = 0) -> Artifact:
    return Artifact(
        experiment_id="x",
        node=node,
        path=path,
        version=1,
        attempt=1,
        digest=f"{path}@{node}@{modified_us}",
        size=1,
        modified_us=modified_us,
        collected_us=0,
    )


def found(*artifacts: Artifact, world_size: int = 4) -> list[Candidate]:
    return find_candidates(artifacts, world_size)


def test_files_with_the_names_of_training_states_come_newest_first() -> None:
    candidates = found(artifact("a.ckpt", 5), artifact("deep/b.pt", 9), artifact("c.pth", 7), artifact("log.txt", 99))
    assert [c.path for c in candidates] == ["deep/b.pt", "c.pth", "a.ckpt"]
    assert not any(c.is_folder or c.problem for c in candidates)


def test_of_a_file_that_several_nodes_have_the_newest_counts() -> None:
    (candidate,) = found(artifact("last.pt", 5, node=0), artifact("last.pt", 9, node=1))
    assert candidate.files[0].node == 1


def test_pieces_of_torch_distributed_checkpoint_may_lie_on_different_nodes() -> None:
    pieces = [artifact(f"s/10/__{rank}_0.distcp", 10, node=rank // 2) for rank in range(4)]
    (whole,) = found(artifact("s/10/.metadata", 11), *pieces)
    assert (whole.path, whole.is_folder, whole.problem, len(whole.files)) == ("s/10", True, None, 5)
    assert whole.index is not None
    assert missing_pieces(whole, ["__0_0.distcp", "__3_0.distcp"]) == []
    assert missing_pieces(whole, ["__0_0.distcp", "__4_0.distcp"]) == ["__4_0.distcp"]
    (headless,) = found(*pieces)
    assert headless.problem == "its .metadata is missing"


def test_a_sharded_folder_that_was_being_written_over_another_is_a_mixture_of_both() -> None:
    index, later = artifact("s/.metadata", 10), [artifact(f"s/__{rank}_0.distcp", 10) for rank in range(3)]
    written = artifact("s/__3_0.distcp", 30_000_000)
    (mixture,) = found(index, *later, written)
    assert mixture.problem == "its .metadata is older than its pieces: it was being overwritten"
    (whole,) = found(artifact("s/.metadata", 29_000_000), *later, written)  # by another machine's clock
    assert whole.problem is None


def test_a_folder_of_deepspeed_needs_every_ranks_optimizer_states_and_takes_the_word_latest_along() -> None:
    model = artifact("ds/global_step7/mp_rank_00_model_states.pt", 7)
    states = [artifact(f"ds/global_step7/zero_pp_rank_{r}_mp_rank_00_optim_states.pt", 7, node=r) for r in range(4)]
    latest = artifact("ds/latest", 8)
    (whole,) = found(model, *states, latest)
    assert (whole.path, whole.problem, whole.latest, whole.tag) == ("ds/global_step7", None, latest, "global_step7")
    (partial,) = found(model, *states[:2], states[3])
    assert partial.problem == "the optimizer states of zero_pp_rank_2_mp_rank_00 are missing"
    (weightless,) = found(*states)
    assert weightless.problem == "its model states are missing"


@pytest.mark.parametrize(
    ("absent", "problem"),
    [
        ("trainer_state.json", "its trainer_state.json is missing"),
        ("model.safetensors", "its model is missing"),
        ("rng_state_3.pth", "rng_state_3.pth is missing"),
        ("optimizer.pt.absent", None),
    ],
)
def test_a_folder_of_transformers_needs_its_state_its_model_and_all_random_states(
    absent: str, problem: str | None
) -> None:
    names = ["trainer_state.json", "model.safetensors", "optimizer.pt", *(f"rng_state_{r}.pth" for r in range(4))]
    (candidate,) = found(*(artifact(f"out/checkpoint-500/{name}", 3) for name in names if name != absent))
    assert (candidate.path, candidate.problem) == ("out/checkpoint-500", problem)


def test_files_inside_a_folder_checkpoint_are_no_candidates_of_their_own() -> None:
    folder = [artifact("x.ckpt/.metadata", 2), artifact("x.ckpt/__0_0.distcp", 2), artifact("x.ckpt/meta.pt", 2)]
    assert [c.path for c in found(*folder, artifact("old.ckpt", 1))] == ["x.ckpt", "old.ckpt"]


def test_a_sharded_folder_of_lightning_lacks_its_meta_file_where_others_have_it() -> None:
    older = [artifact(f"a.ckpt/{name}", 1) for name in (".metadata", "__0_0.distcp", "meta.pt")]
    newer = [artifact(f"b.ckpt/{name}", 2) for name in (".metadata", "__0_0.distcp")]
    assert [c.problem for c in found(*older, *newer)] == ["its meta.pt is missing", None]
    assert [c.problem for c in found(*newer)] == [None], "a folder may have that name without being Lightning's"


def test_a_folder_of_deepspeed_that_lightning_made_is_the_folder_around_it() -> None:
    names = ["mp_rank_00_model_states.pt", *(f"zero_pp_rank_{r}_mp_rank_00_optim_states.pt" for r in range(4))]
    latest = artifact("epoch=1.ckpt/latest", 3)
    (whole,) = found(latest, *(artifact(f"epoch=1.ckpt/checkpoint/{name}", 3) for name in names))
    assert (whole.path, whole.problem, whole.latest, whole.tag) == ("epoch=1.ckpt", None, latest, "checkpoint")


def test_what_lies_inside_a_folder_of_transformers_belongs_to_it() -> None:
    above = [artifact("out/checkpoint-5/trainer_state.json", 9)]
    model, optimizer = (
        [artifact(f"out/checkpoint-5/{folder}/{name}", 8) for name in (".metadata", "__0_0.distcp")]
        for folder in ("pytorch_model_fsdp_0", "optimizer_0")
    )
    (whole,) = found(*above, *model, *optimizer)
    assert (whole.path, whole.problem, len(whole.files), len(whole.inner)) == ("out/checkpoint-5", None, 5, 2)
    (partial,) = found(*above, *model, optimizer[1])
    assert partial.problem == "in out/checkpoint-5/optimizer_0, its .metadata is missing"
