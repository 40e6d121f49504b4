"""Writes 10 MB/s for 5 s; every rank leaves how long that took."""

import os
import sys
import time

RATE, SECONDS = 10_000_000, 5
rank = os.environ["RANK"]
block = (rank.encode() + b":" + b"x" * (98 - len(rank)) + b"\n") * 1000
start, written = time.monotonic(), 0
while written < RATE * SECONDS:
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
    written += len(block)
    ahead = written / RATE - (time.monotonic() - start)
    if ahead > 0:
        time.sleep(ahead)
with open(os.path.join(os.environ["BENCH_OUT"], f"took.{rank}"), "w") as file:
    file.write(repr(time.monotonic() - start))
