"""What a metric's name tells: which end of it is best, and how much it says about which experiment is. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Literal

#: Words in the names of metrics of which more is better.
_MORE_IS_BETTER = frozenset(
    {"acc", "accuracy", "auc", "auroc", "ap", "map", "f1", "fscore", "precision", "recall", "sensitivity"}
    | {"specificity", "iou", "miou", "dice", "jaccard", "bleu", "rouge", "r2", "psnr", "ssim", "reward", "return"}
    | {"score", "mrr", "ndcg", "hits", "top1", "top5", "throughput"}
)

#: Words of those of which less is better; what is in neither list says nothing about how good a training is.
_LESS_IS_BETTER = frozenset(
    {"loss", "losses", "error", "err", "mse", "mae", "rmse", "mape", "nll", "ce", "bce", "elbo", "kl", "perplexity"}
    | {"ppl", "wer", "cer", "fid", "eer", "bpb", "bpc"}
)

#: Words that tell on which data, in the order of what they say about a model.
_DATA = (("val", "valid", "validation", "eval", "dev"), ("test", "testing"), (), ("train", "training"))

#: What is watched, but says nothing of itself.
_RATES = frozenset({"throughput"})


@functools.lru_cache(4096)
def goal_of(tag: str) -> Literal["min", "max"]:
    """Return which end of a metric is best."""
    return "max" if _MORE_IS_BETTER.intersection(_words(tag)) else "min"


def most_telling_first(tags: Iterable[str]) -> list[str]:
    """Return metrics with those first that tell best which experiment is best: losses and scores on validation data."""
    return sorted(tags, key=lambda tag: (*_rank(tag), tag))


def _rank(tag: str) -> tuple[int, int, bool]:
    words = set(_words(tag))
    is_loss = not words.isdisjoint(_LESS_IS_BETTER)
    is_score = not words.isdisjoint(_MORE_IS_BETTER - _RATES)
    data = next((i for i, named in enumerate(_DATA) if not words.isdisjoint(named)), _DATA.index(()))
    return (0 if is_loss or is_score else 1), data, not is_loss


def _words(tag: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", tag.lower())
