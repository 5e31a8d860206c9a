"""One profile for Hypothesis: a slow machine is no bug, and a failure says how to see it again."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("stem", deadline=None, print_blob=True)
settings.load_profile("stem")
