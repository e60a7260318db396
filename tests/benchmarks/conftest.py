"""The tiny language models of the tests of processes are used here as well."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "processes" / "language"))
