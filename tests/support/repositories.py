"""Repositories on the disk that stand for a git host, by git's own `insteadOf`."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

HOST = "https://git.example.com/org"


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder as nobody in particular; return what it printed."""
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(folder: Path, files: Mapping[str, str]) -> str:
    """Write files and commit all there is, in a repository that is made when there is none; return the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "a change")
    return git(folder, "rev-parse", "HEAD")


def hosted(root: Path) -> dict[str, str]:
    """Return the environment in which git finds `HOST/NAME`, and `git@git.example.com:org/NAME`, in the folder root."""
    ssh = "git@git.example.com:org"
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.{root}/.insteadOf",
        "GIT_CONFIG_VALUE_0": f"{HOST}/",
        "GIT_CONFIG_KEY_1": f"url.{root}/.insteadOf",
        "GIT_CONFIG_VALUE_1": f"{ssh}/",
    }
