"""How the pages are built: `make docs` writes HTML to docs/_build."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
version = release = PROJECT["version"]
copyright = "the authors of sadt_ray, Apache-2.0"
html_theme = "furo"
html_title = f"sadt_ray {version}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"  # signatures hold shapes as strings, which are read best in the source
napoleon_use_ivar = True

_LITERAL = re.compile(r"(``.*?``)")
_EMPHASIS_OR_STAR = re.compile(r"\*\w[\w' -]*\*|\*")


def as_restructured_text(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Stars and bars of formulas and shapes, such as [B, *state_shape] and p(a | b), are no markup."""
    for number, line in enumerate(lines):
        parts = _LITERAL.split(line)
        parts[::2] = [_escaped(part) for part in parts[::2]]
        lines[number] = "".join(parts)


def _escaped(text: str) -> str:
    return _EMPHASIS_OR_STAR.sub(lambda found: found[0] if len(found[0]) > 1 else r"\*", text.replace("|", r"\|"))


def fields_that_say_nothing(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples, which Python documents by their number."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", fields_that_say_nothing)
