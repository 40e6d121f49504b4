"""What outside and inside tell one another by: beginnings of lines in our jobs' logs, an exit code, and a resource."""

from __future__ import annotations

#: Of a driver; the SHA-256 of its secret follows.
PROOF = "opengrid driver "

#: Of a check; the answers of the nodes follow, as JSON.
ANSWERS = "opengrid nodes "

#: Exit code of a driver that cannot run with that interpreter on that head, however often it is started.
NEVER = 78

#: Resource of machines that a market may take away; planning.markets has the same word.
SPOT = "spot"
