"""Builds the fake NVML library, and describes the GPUs that it shows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import missing


def build_fake_nvml(folder: Path) -> Path:
    """Compile the library into `folder`; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        missing("cc", "no C compiler to build the fake NVML library with")
    library = folder / "libfakenvml.so"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
    return library


def write_gpus(folder: Path, gpus: Sequence[tuple[str, int, int]], *, use: int = 0, used_mib: int = 0) -> list[str]:
    """Say which GPUs the library in a folder shows, as (name, MiB, pid of a process on it or 0); return their UUIDs."""
    path = folder / "gpus"
    path.write_text("".join(f"{name},{mib},{pid},{use},{used_mib}\n" for name, mib, pid in gpus))
    return [f"GPU-fake-{path.stat().st_ino}-{index}" for index in range(len(gpus))]
