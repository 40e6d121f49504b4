"""When a fork of the template would not behave as a fresh interpreter does: then the rank is an ordinary subprocess."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping

#: Variables that Python, the C library, OpenMP, BLAS, torch and friends read while they load, which a fork is too
#: late for.
_READ_WHILE_LOADING = re.compile(
    r"LD_|PYTHON|GLIBC_TUNABLES|MALLOC_|KMP_|GOMP_|OMP_|MKL_|OPENBLAS_|GOTO_|BLIS_|NUMEXPR_|NPY_|NUMPY_|ATEN_"
    r"|TORCH|PYTORCH|TRITON_|TQDM_|MPL"
)

#: Exceptions: applied after the fork by ourselves, or read late (checked with torch 2.13).
_READ_LATE = re.compile(
    r"PYTHONPATH$|OMP_NUM_THREADS$|TORCHELASTIC_|TORCH_NCCL_|TORCH_HOME$|TORCH_EXTENSIONS_DIR$|TORCH_CUDA_ARCH_LIST$"
    r"|TORCH_GLOO_|TORCH_FR_|TORCHINDUCTOR_CACHE_DIR$|PYTORCH_NVML_BASED_CUDA_CHECK$"
)


def variable_read_too_early(environment: Mapping[str, str]) -> str | None:
    """Return the reason why a rank with this environment must not be forked, or None.

    Pure; names the variable, not its value. A plan can ask before anything runs; the launcher asks for every rank.
    """
    for name in sorted(environment):
        if _READ_WHILE_LOADING.match(name) and not _READ_LATE.match(name):
            return f"{name} is read while libraries load"
    charset = _charset(environment)
    if charset not in ("", "utf8"):
        return f"the locale's character set is {charset}"
    return None


def shadowed_module(folders: Iterable[str], loaded: Collection[str]) -> str | None:
    """Return the reason why ranks that import from `folders` first must not be forked, or None.

    A fresh interpreter would find a module of that name there; a fork has loaded another one already.
    """
    for folder in folders:
        for name in sorted(_importable(folder) & set(loaded)):
            return f"{os.path.join(folder, name)} takes the place of the preloaded {name}"
    return None


def first_folders(
    environment: Mapping[str, str], directory: str, script_folder: str | None, overlay: str | None
) -> list[str]:
    """Return the folders that come before the standard library in sys.path, and the overlay."""
    paths = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    folders = [script_folder or directory, *paths, *([overlay] if overlay else [])]
    return [os.path.join(directory, folder) for folder in folders]


def _charset(environment: Mapping[str, str]) -> str:
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    return locale.partition(".")[2].partition("@")[0].lower().replace("-", "")


def _importable(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return set()
    modules = {
        e.name.partition(".")[0] for e in found if e.name.endswith((".py", ".so")) and not e.name.startswith(".")
    }
    return modules | {
        e.name for e in found if "." not in e.name and os.path.isfile(os.path.join(e.path, "__init__.py"))
    }
