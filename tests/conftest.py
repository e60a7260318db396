"""Property tests look for new counterexamples at a desk and repeat themselves in CI; nothing is ever timed."""

import os

from hypothesis import settings

settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
