"""A certificate that nobody has signed but its own key."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import missing


def certificate(folder: Path, *names: str) -> tuple[str, str]:
    """Make a self-signed certificate, for names such as `DNS:lab`; return its file and its key's."""
    if shutil.which("openssl") is None:
        missing("openssl", "no openssl to make a certificate with")
    about = ["-subj", "/CN=lab", "-keyout", "key.pem", "-out", "cert.pem"]
    about += ["-addext", f"subjectAltName={','.join(names)}"] if names else []
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *about]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return str(folder / "cert.pem"), str(folder / "key.pem")
