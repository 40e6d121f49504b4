"""How much is tried in one run of the unit tests: every run tries other examples, and there are many runs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", max_examples=40, deadline=None, database=None)
settings.load_profile("unit")
