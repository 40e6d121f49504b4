"""planning.preload: what the template imports for a script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.planning.preload import preload_modules


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("", ()),
        ("import os, sys\nfrom argparse import ArgumentParser", ()),
        ("from __future__ import annotations\nimport json", ()),
        ("import torch", ("torch",)),
        ("import torch.distributed as dist", ("torch",)),
        ("from torch import nn", ("torch",)),
        ("def main():\n    import torch", ("torch",)),
        ("try:\n    import torchvision\nexcept ImportError:\n    pass", ("torch",)),
        ("from model import Net", ("torch",)),
        ("from . import model", ("torch",)),
        ("import lightning as L", ("torch", "lightning.pytorch")),
        ("from lightning.pytorch import Trainer", ("torch", "lightning.pytorch")),
        ("from lightning.fabric import Fabric", ("torch", "lightning.pytorch")),
        ("import pytorch_lightning as pl", ("torch", "pytorch_lightning")),
        ("import lightning\nimport pytorch_lightning", ("torch", "lightning.pytorch", "pytorch_lightning")),
        ("# import lightning\nx = 'import torch'", ()),
        # Written for a Python that this one cannot read: lines are looked at instead.
        ("import torch\nprint 'hello'", ("torch",)),
        ("import os, lightning as L\nfrom x import (\n", ("torch", "lightning.pytorch")),
        ("def f(:\n    from pytorch_lightning import Trainer", ("torch", "pytorch_lightning")),
        ("import os\nprint 'hello'", ()),
        ("import torch\0", ("torch",)),
    ],
)
def test_the_list_follows_from_the_imports(text: str, modules: tuple[str, ...]) -> None:
    assert preload_modules(text) == modules


@given(st.text())
def test_no_text_is_too_broken(text: str) -> None:
    assert set(preload_modules(text)) <= {"torch", "lightning.pytorch", "pytorch_lightning"}


def test_deeply_nested_text_is_no_trouble() -> None:
    assert preload_modules("import torch\nx = " + "(" * 5000 + ")" * 5000) == ("torch",)
