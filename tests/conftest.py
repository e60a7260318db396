"""Property tests look for new counterexamples at a desk and repeat themselves in CI; nothing is ever timed."""

import os

from hypothesis import settings

# Ray runs its workers at niceness 15: beside a busy process they would get a thirtieth of a core.
os.environ.setdefault("RAY_worker_niceness", "0")

settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
