"""The help of a command: what it does and examples first, then one line per flag, in groups. --help-all says it all."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import tyro
from rich.console import Console

from jobs.execution import Execution

_FLAG_WIDTH, _WIDTH = 34, 118
_IN_FULL = ("method", "reward")  # whose docstrings list what there is to choose from
_EXECUTION = tuple(each.name for each in fields(Execution))


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help of either length."""
    return any(argument in ("-h", "--help", "--help-all") for argument in arguments)


def print_help(arguments: Sequence[str], description: str, job: type[Any], groups: Mapping[str, Sequence[str]]) -> None:
    """Print the description and one line per flag; for ``--help-all`` everything that there is to say.

    Args:
        arguments: of the command line.
        description: the module's docstring.
        job: dataclass of the flags, each with a docstring of its own.
        groups: names of the fields, by heading; those of ``Execution`` come last.
    """
    if "--help-all" in arguments:
        tyro.cli(job, description=description, args=["--help"])
    said = {**_docs(Execution), **_docs(job)}
    known = {each.name: each for each in (*fields(Execution), *fields(job))}
    lines = [description.strip(), ""]
    for heading, names in {**groups, "Where it runs": _EXECUTION}.items():
        lines.append(f"{heading}:")
        for name in names:
            lines += _lines(_flag(known[name]), " ".join(said[name].split()), name in _IN_FULL)
    lines += ["", "--help-all says everything about every flag."]
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _lines(flag: str, said: str, in_full: bool) -> list[str]:
    width = _WIDTH - _FLAG_WIDTH
    text = textwrap.wrap(said, width) if in_full else [textwrap.shorten(said, width, placeholder=" ...")]
    return [f"{flag:<{_FLAG_WIDTH}}{text[0]}", *(" " * _FLAG_WIDTH + line for line in text[1:])]


def _flag(field: Any) -> str:
    """The flag with what follows it: its default, X for one value, X ... for several, nothing for a switch."""
    name, default = field.name.replace("_", "-"), field.default
    if isinstance(default, bool):
        return f"  --no-{name}" if default else f"  --{name}"
    if isinstance(default, tuple):
        return f"  --{name} X ..."
    return f"  --{name} X" if default in (None, MISSING, "") else f"  --{name} {default}"


def _docs(job: type[Any]) -> dict[str, str]:
    """The docstring below each field, of the class and of those that it extends."""
    found: dict[str, str] = {}
    for part in reversed(job.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for one, after in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and is_text:
                found[one.target.id] = str(after.value.value)  # type: ignore[attr-defined]
    return found
