"""What the outside looks for in the logs of our jobs: the beginnings of lines."""

from __future__ import annotations

#: Of a driver; the SHA-256 of its secret follows.
PROOF = "opengrid driver "

#: Of a check; the answers of the nodes follow, as JSON.
ANSWERS = "opengrid nodes "
