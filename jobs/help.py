"""The help of a command: what it does and examples first, then one line per flag, in groups. --help-all says it all."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from rich.console import Console

from jobs.execution import Execution

_FLAG_WIDTH = 30
_WIDTH = 118
EXECUTION = tuple(each.name for each in fields(Execution))


def print_help(console: Console, description: str, job: type[Any], groups: Mapping[str, Sequence[str]]) -> None:
    """Print the description and one line per flag.

    Args:
        description: the module's docstring.
        job: dataclass of the flags, each with a docstring of its own.
        groups: names of the fields, by heading; those of ``Execution`` come last.
    """
    said = {**_docs(Execution), **_docs(job)}
    defaults = {each.name: each for each in (*fields(Execution), *fields(job))}
    lines = [description.strip(), ""]
    for heading, names in {**groups, "Where it runs": EXECUTION}.items():
        lines.append(f"{heading}:")
        for name in names:
            flag = f"  --{name.replace('_', '-')}{_value(defaults[name])}"
            first = re.split(r"(?<=[a-z)\d])[.:;](?:\s|$)", " ".join(said[name].split()))[0]
            lines.append(f"{flag:<{_FLAG_WIDTH}}{textwrap.shorten(first, _WIDTH - _FLAG_WIDTH, placeholder=' ...')}")
    lines += ["", "--help-all says everything about every flag."]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


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


def _value(field: Any) -> str:
    """What follows a flag: nothing for a switch."""
    if field.default is True or field.default is False:
        return ""
    many = "tuple" in str(field.type)
    default = field.default
    if default in (None, (), MISSING) or isinstance(default, tuple):
        return " ..." if many else " X"
    return f" {default}"
