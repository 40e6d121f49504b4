"""What outside and inside tell one another by: beginnings of lines in our jobs' logs, and a resource."""

from __future__ import annotations

#: Of a driver; the SHA-256 of its secret follows.
PROOF = "opengrid driver "

#: Of a check; the answers of the nodes follow, as JSON.
ANSWERS = "opengrid nodes "

#: Resource of machines that a market may take away; planning.markets has the same word.
SPOT = "spot"
