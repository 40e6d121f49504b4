"""Trees of files, packed as a client sends them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def bundle_of(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of these files, which may be executed."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as bundle:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            bundle.addfile(member, io.BytesIO(data))
    return content.getvalue()
