"""What the house promises: what is installed, what may be imported, and documents that keep up with the code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

from opengrid.core.rank_env import OUR_VARIABLES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "opengrid"

#: Belongs to the user; code that runs in the user's interpreter may use what it finds there.
USERS = {"torch", "lightning", "pytorch_lightning", "numpy"}


def imports_of(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield the top-level packages that a file imports, and whether it does so when it is itself imported."""
    tree = ast.parse(file.read_text())
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            yield name.partition(".")[0], id(node) not in inside


@pytest.mark.parametrize("package", ["core", "client", "node"])
def test_what_an_agent_is_made_of_needs_the_standard_library_only(package: str) -> None:
    allowed = set(sys.stdlib_module_names) | {"opengrid"}
    foreign = {
        (str(file.relative_to(ROOT)), name)
        for file in (PACKAGE / package).rglob("*.py")
        for name, at_import in imports_of(file)
        if name not in allowed and (at_import or package != "node" or name not in USERS)
    }
    assert not foreign


def test_installing_opengrid_brings_no_torch() -> None:
    needed = [r for r in requires("opengrid") or [] if "extra ==" not in r]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in needed}
    assert names
    assert not names & {"torch", "lightning", "pytorch-lightning", "ray"}


def test_the_variables_of_ours_that_a_rank_sees_are_documented() -> None:
    text = (ROOT / "docs" / "rank-environment.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, flags=re.MULTILINE))
    assert documented == dict(OUR_VARIABLES)


@pytest.mark.parametrize(
    "page", [*sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("*.md")), "docs", "examples"]
)
def test_links_in_the_documents_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for file in path.glob("*.md") if path.is_dir() else [path]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            if "://" not in link:
                assert (file.parent / link).exists(), f"{file.name}: {link}"
