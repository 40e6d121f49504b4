"""planning.dependencies: what a tree's files say it needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import GridError, InvalidValue, NotFound
from opengrid.core.spec import Dependencies
from opengrid.planning.dependencies import check_python, find_dependencies
from opengrid.planning.own_packages import TreeFiles

CONDA = """\
name: study
channels: [conda-forge]
dependencies:
  - python=3.10
  - pip
  - pip:
    - numpy>=1.26
    - -r more.txt
"""


#: A gigabyte of text in a few hundred bytes.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 30)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)
BOMB += "dependencies:\n{}\n"


def found(files: dict[str, str], chosen: str | None = None) -> Dependencies | None:
    return find_dependencies(TreeFiles(files, files.get), chosen)


def needed(files: dict[str, str], chosen: str | None = None) -> Dependencies:
    dependencies = found(files, chosen)
    assert dependencies is not None
    return dependencies


def needs(files: dict[str, str], chosen: str | None = None) -> tuple[str, ...]:
    return needed(files, chosen).requirements


def test_a_tree_without_such_files_needs_nothing() -> None:
    assert found({"train.py": "import torch", "pyproject.toml": "[tool.ruff]\n"}) is None
    assert found({"requirements.txt": "# nothing\n\n"}) is None


def test_requirements_are_taken_with_nested_files_comments_and_continued_lines() -> None:
    files = {
        "requirements.txt": "numpy>=1.26 # arrays\n-r sub/base.txt\n\n# no\npandas[excel] ; python_version > '3.8'\n"
        "scipy==1.11 \\\n  --hash=sha256:00\n--extra-index-url https://host/simple\n-c limits.txt",
        "sub/base.txt": "rich\n-r deeper.txt\n-rdeeper.txt\n",
        "sub/deeper.txt": "click\n-r ../requirements.txt\n",
        "limits.txt": "click<9",
    }

    dependencies = found(files)

    assert dependencies == Dependencies(
        file="requirements.txt",
        requirements=(
            *("numpy>=1.26", "rich", "click", "pandas[excel] ; python_version > '3.8'"),
            *("scipy==1.11 --hash=sha256:00", "--extra-index-url https://host/simple"),
        ),
        constraints=("click<9",),
    )
    assert dependencies is not None
    assert dependencies.count == 5


def test_requirements_txt_comes_before_environment_yml_and_that_before_pyproject() -> None:
    files = {"pyproject.toml": "[project]\ndependencies = ['a']", "environment.yml": "dependencies: [{pip: [b]}]"}
    assert needs(files) == ("b",)
    assert needs({**files, "requirements.txt": "c"}) == ("c",)
    assert needs({**files, "requirements.txt": "# none"}) == ("b",)
    assert needs(files, "pyproject.toml") == ("a",)
    assert needs({**files, "deps/gpu.txt": "d"}, "./deps/gpu.txt") == ("d",)
    assert found(files, "none") is None


def test_environment_yml_gives_its_python_and_what_pip_installs() -> None:
    assert found({"environment.yml": CONDA, "more.txt": "rich"}) == Dependencies(
        file="environment.yml", requirements=("numpy>=1.26", "rich"), python="==3.10.*"
    )


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("python=3.10", "==3.10.*"),
        ("python==3.10", "==3.10.*"),
        ("python=3.10.4", "==3.10.4"),
        ("python=3.10.*", "==3.10.*"),
        ("conda-forge::python=3.11", "==3.11.*"),
        ("python >=3.9,<3.12", "<3.12,>=3.9"),
        ("python", None),
    ],
)
def test_conda_s_ways_to_write_a_python_version_are_read(written: str, means: str | None) -> None:
    dependencies = found({"environment.yml": f"dependencies: ['{written}', {{pip: [x]}}]"})

    assert dependencies is not None
    assert dependencies.python == means


def test_packages_that_only_conda_installs_are_refused_by_name_and_line() -> None:
    with pytest.raises(InvalidValue) as error:
        found({"environment.yml": CONDA + "  - cudatoolkit=11.3\n  - numpy\n", "more.txt": ""})

    assert "`cudatoolkit=11.3` (line 9), `numpy` (line 10)" in error.value.message


PROJECT = """\
[project]
name = "Own.Lib"
requires-python = ">=3.9"
dependencies = ["numpy>=1.26"]
[project.optional-dependencies]
dev = ["rich", "click"]
all = ["own-lib[dev]"]
"""


def test_an_editable_package_is_imported_from_the_tree_and_what_it_declares_is_installed() -> None:
    files = {"pyproject.toml": PROJECT, "src/own/__init__.py": "", "requirements.txt": "-e .\nscipy"}

    assert found(files) == Dependencies(
        file="requirements.txt", requirements=("numpy>=1.26", "scipy"), folders=("src",), python=">=3.9"
    )
    assert not needed(files).need_the_tree
    assert needs({**files, "requirements.txt": "--editable=.[dev]"}) == ("numpy>=1.26", "rich", "click")
    flat = {"libs/own/pyproject.toml": PROJECT, "libs/own/own.py": "", "requirements.txt": "-e ./libs/own"}
    assert needed(flat).folders == ("libs/own",)
    assert needed({**files, "src/__init__.py": ""}).folders == (".",)


@pytest.mark.parametrize(
    ("project", "line"),
    [
        ({"setup.py": "from setuptools import setup; setup()"}, "-e ."),
        ({"pyproject.toml": "[tool.poetry]\nname = 'own'"}, "-e ."),
        ({"pyproject.toml": "[project]\nname = 'own'\ndynamic = ['dependencies']"}, "-e ."),
        ({"pyproject.toml": PROJECT}, "-e .[all]"),
    ],
)
def test_what_only_a_build_can_tell_of_an_editable_package_is_left_to_the_build(
    project: dict[str, str], line: str
) -> None:
    dependencies = needed({**project, "requirements.txt": line})

    assert dependencies.requirements == (line.replace("-e .", "./."),)
    assert (dependencies.editable, dependencies.folders) == ((".",), (".",))
    assert dependencies.need_the_tree


def test_packages_and_archives_of_the_tree_are_installed_with_paths_from_its_root() -> None:
    files = {
        "requirements.txt": "-r deps/own.txt\n./lib[a, b]; python_version > '3.8'\nwheels/x-1.0-py3-none-any.whl\n"
        "file:lib\nfile:///opt/y.whl\n/opt/z.whl\n-e git+https://host/repo#egg=w\n",
        "deps/own.txt": "./lib/../lib",
        "lib/setup.cfg": "",
        "wheels/x-1.0-py3-none-any.whl": "",
    }

    dependencies = needed(files)

    assert dependencies.requirements == (
        *("./lib", "./lib[a, b] ; python_version > '3.8'", "./wheels/x-1.0-py3-none-any.whl", "./lib"),
        *("file:///opt/y.whl", "file:///opt/z.whl", "git+https://host/repo#egg=w"),
    )
    assert dependencies.need_the_tree
    assert (dependencies.editable, dependencies.folders) == ((), ())


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        ({"requirements.txt": "a\nnumpy=1.2"}, "requirements.txt, line 2: 'numpy=1.2'", "numpy==1.2?"),
        ({"requirements.txt": "two words"}, "requirements.txt, line 1", "one package a line"),
        ({"requirements.txt": "git+https://host/re po"}, "line 1: 'git+https://host/re po' is an address", "%20"),
        ({"requirements.txt": "-r absent.txt"}, "line 1: there is no absent.txt in the tree", ""),
        ({"requirements.txt": "-r ../../etc/passwd"}, "there is no ../../etc/passwd in the tree", ""),
        ({"requirements.txt": "--frobnicate x"}, "the option --frobnicate is not known", ""),
        ({"requirements.txt": "--find-links wheels"}, "--find-links wheels", "an absolute path or a URL"),
        ({"sub.txt": "a=1", "requirements.txt": "-r sub.txt"}, "sub.txt, line 1", ""),
        (
            {"requirements.txt": "-e ."},
            "the tree's root has no pyproject.toml, setup.py or setup.cfg",
            "--dependency_file none",
        ),
        ({"requirements.txt": "a\n-e lib"}, "line 2: `-e lib` cannot be installed: there is no folder lib", "root"),
        ({"requirements.txt": "-e ../lib"}, "`-e ../lib` cannot be installed: it lies outside the tree", "move it"),
        ({"requirements.txt": "-e /home/me/lib"}, "it lies outside the tree", "name the package's version"),
        ({"requirements.txt": "../lib"}, "it lies outside the tree", ""),
        ({"requirements.txt": "./lib/"}, "there is no lib in the tree", ""),
        ({"requirements.txt": "./x.whl"}, "there is no x.whl in the tree", "git ignore"),
        ({"requirements.txt": "lib/", "lib/a.py": ""}, "lib has no pyproject.toml", ""),
        ({"requirements.txt": "-e .", "pyproject.toml": "[project\n"}, "pyproject.toml", ""),
        ({"requirements.txt": "-e .", "pyproject.toml": "[project]\ndependencies=['a=1']"}, "'a=1' names no", "a==1?"),
        ({"environment.yml": "dependencies: ["}, "environment.yml, line 1", ""),
        ({"environment.yml": "- a"}, "a mapping with a list of dependencies", ""),
        ({"environment.yml": "dependencies: [{pip: ['a=1']}]"}, "environment.yml, below line 1", ""),
        ({"environment.yml": "dependencies: ['python>=x']"}, "no range of versions", ""),
        ({"environment.yml": BOMB.format("- *g")}, "environment.yml, line 7: one package a line", ""),
        ({"environment.yml": BOMB.format("- pip: *g")}, "below line 9: one package a line", ""),
        ({"requirements.txt": "a" + " " * 4_000_000 + "b"}, "'a b' names no package", ""),
        ({"requirements.txt": "./a" + " " * 4_000_000 + "]"}, "it is no path", ""),
        ({"pyproject.toml": "[project]\ndependencies = 'numpy'"}, "a list of texts", ""),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml", ""),
        ({"pyproject.toml": "[project]\ndependencies = ['numpy=1']"}, "'numpy=1' names no package", ""),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(files: dict[str, str], said: str, hint: str) -> None:
    with pytest.raises(InvalidValue) as error:
        found(files)

    assert said in error.value.message
    assert hint in str(error.value.hint)


def test_a_chosen_file_must_exist() -> None:
    with pytest.raises(NotFound, match="no such file in the tree"):
        found({}, "requirements-gpu.txt")


def test_the_interpreter_must_be_of_a_version_that_the_tree_wants() -> None:
    wants = Dependencies(file="environment.yml", python="==3.10.*")

    check_python(wants, "3.10.14", "/python")
    with pytest.raises(InvalidValue, match=r"wants Python ==3\.10\.\*, and /python is Python 3\.11\.7"):
        check_python(wants, "3.11.7", "/python")


@given(st.text(max_size=80), st.sampled_from(["requirements.txt", "environment.yml", "pyproject.toml"]))
def test_any_text_is_understood_or_refused(text: str, name: str) -> None:
    try:
        dependencies = found({name: text})
    except GridError:
        return
    assert dependencies is None or dependencies.file == name
