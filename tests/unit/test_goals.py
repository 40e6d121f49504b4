"""planning.goals: what the names of metrics tell."""

from __future__ import annotations

import pytest

from opengrid.planning.goals import goal_of, most_telling_first


@pytest.mark.parametrize(
    ("tag", "goal"),
    [
        ("val_loss", "min"),
        ("val/acc", "max"),
        ("macro-F1", "max"),
        ("train_accuracy_epoch", "max"),
        ("map_loading_s", "max"),
        ("lr", "min"),
    ],
)
def test_a_name_tells_which_end_is_best(tag: str, goal: str) -> None:
    assert goal_of(tag) == goal


@pytest.mark.parametrize(
    ("tags", "best"),
    [
        (["accuracy", "epoch", "hp_metric", "loss", "lr-Adam"], "loss"),
        (["train/acc", "train/loss", "val/acc", "val/loss"], "val/loss"),
        (["loss", "test_acc", "valid.f1"], "valid.f1"),
        (["epoch", "grad_norm", "train_acc"], "train_acc"),
        (["epoch", "throughput", "b"], "b"),
        (["train_loss_epoch", "train_loss_step", "val_auc"], "val_auc"),
        (["validation_time", "train/ppl"], "train/ppl"),
        (["evaluation", "a"], "a"),
    ],
)
def test_what_says_most_about_a_model_comes_first(tags: list[str], best: str) -> None:
    assert most_telling_first(tags)[0] == best
    assert sorted(most_telling_first(tags)) == sorted(tags)
