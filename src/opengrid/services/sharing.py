"""Links that download one file without signing in, until they expire: signed by the server, stored nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from opengrid.core.errors import Unauthorized

#: How long a link works, in seconds.
_SHORTEST_S, USUAL_S, LONGEST_S = 1, 24 * 3600, 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One content of one file, for whoever has the link."""

    experiment: str
    artifact: str  #: its id
    digest: str  #: of the content that was shared: a newer one is not
    expires_us: int


class Sharing:
    """Makes and reads such links."""

    def __init__(self, secret: str, *, now_us: Callable[[], int]) -> None:
        self._key, self._now_us = hmac.digest(secret.encode(), b"links that expire", "sha256"), now_us

    def make(self, experiment: str, artifact: str, digest: str, valid_s: int) -> tuple[str, Shared]:
        """Return the word of a link to a content, and what it stands for."""
        shared = Shared(
            experiment=experiment,
            artifact=artifact,
            digest=digest,
            expires_us=self._now_us() + max(_SHORTEST_S, min(valid_s, LONGEST_S)) * 1_000_000,
        )
        body = json.dumps([experiment, artifact, digest, shared.expires_us]).encode()
        return f"{_text(body)}.{_text(self._signature(body))}", shared

    def read(self, word: str) -> Shared:
        """Return what a link stands for; Unauthorized for one that was not made here, or has expired."""
        body, _, signature = word.partition(".")
        content, signed = _bytes(body), _bytes(signature)
        if not hmac.compare_digest(self._signature(content), signed):
            raise Unauthorized("this link is not one of this server's")
        experiment, artifact, digest, expires_us = json.loads(content)
        if expires_us <= self._now_us():
            raise Unauthorized("this link has expired", hint="ask for a new one")
        return Shared(experiment=experiment, artifact=artifact, digest=digest, expires_us=expires_us)

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""  # which nobody has signed
