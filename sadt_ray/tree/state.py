"""A search as named arrays and a few facts: what a checkpoint holds, and what can be sent to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadt_ray.config import SearchConfig, settings_of
from sadt_ray.interfaces import Failure

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SearchState:
    """Everything a search follows from.

    Attributes:
        arrays: by name; the columns of the tree are called ``tree.parent`` and so on. Those of ``Search.state`` are
            views of the search as it is: they change when it goes on, and lose their meaning when it grows.
        facts: what JSON can hold: ``format_version``, ``config`` (rules of a user's own by their names), ``names``,
            ``num_levels``, ``turn``, ``ignored_tells``, ``failures``.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    def part(self, owner: str) -> dict[str, np.ndarray]:
        """The arrays called ``owner.NAME``, by NAME."""
        prefix = owner + "."
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration of the search by name; what was added to configurations since has its default. Raises
        ValueError for a setting that this program does not know."""
        defaults = settings_of(SearchConfig())
        unknown = sorted(self.facts["config"].keys() - defaults.keys())
        if unknown:
            raise ValueError(f"the state has the setting {unknown[0]!r}, which this program does not know")
        return defaults | dict(self.facts["config"])

    @property
    def config(self) -> SearchConfig:
        """The configuration of the search. Raises ValueError for a setting that this program does not know, or a rule
        that cannot be loaded by its name."""
        return SearchConfig(**self.settings)

    @property
    def failures(self) -> list[Failure]:
        return [Failure(*failure) for failure in self.facts["failures"]]


def named(owner: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``arrays`` under names that ``SearchState.part`` finds."""
    return {f"{owner}.{name}": array for name, array in arrays.items()}


def check_version(facts: Mapping[str, Any]) -> None:
    """Raises ValueError if the facts are of a state that this program cannot read."""
    version = facts.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"the state has format version {version}, this program reads version {FORMAT_VERSION}; "
            "resume it with the program that wrote it, or remove the checkpoints and begin anew"
        )


def check_same_search(saved: SearchState, wanted: SearchState) -> None:
    """Raises ValueError, naming the field and both values, unless the two searches began alike.

    Rules of a user's own are compared by their names. How many problems are searched at once is a matter of the
    machines that are there, which may be others now.
    """
    before, now = ({**state.settings, "at_once": None, **_began(state)} for state in (saved, wanted))
    for name, value in now.items():
        _require_equal(name, before[name], value)
    there, here = saved.arrays["states"], wanted.arrays["states"]
    _require_equal("states' shape and type", (there.shape[1:], there.dtype.name), (here.shape[1:], here.dtype.name))
    for row, name in enumerate(now["names"]):
        if not np.array_equal(there[row], here[row], equal_nan=there.dtype.kind in "fc"):
            _require_equal(f"root state of {name!r}", there[row], here[row], differ=True)


def _began(state: SearchState) -> dict[str, Any]:
    return {"names": tuple(state.facts["names"]), "num_levels": state.facts["num_levels"]}


def _require_equal(name: str, saved: object, wanted: object, differ: bool = False) -> None:
    if differ or saved != wanted:
        raise ValueError(
            f"the checkpoint is of another search: its {name} is {saved!r}, here it is {wanted!r}; "
            "resume with the settings it was made with, or choose another place for checkpoints"
        )
