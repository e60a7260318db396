"""A search as named arrays and a few facts: what a checkpoint holds, and what can be sent to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Failure

if TYPE_CHECKING:
    from sadt_ray.tree.search import Search

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SearchState:
    """Everything a search follows from.

    Attributes:
        arrays: by name; the columns of the tree are called ``tree.parent`` and so on. Those of ``Search.state`` are
            views of the search as it is: they change when it goes on, and lose their meaning when it grows.
        facts: what JSON can hold: ``format_version``, ``config``, ``names``, ``num_levels``, ``turn``,
            ``ignored_tells``, ``failures``.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    def part(self, owner: str) -> dict[str, np.ndarray]:
        """The arrays called ``owner.NAME``, by NAME."""
        prefix = owner + "."
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    @property
    def config(self) -> SearchConfig:
        """Of the search; what was added to the configuration since has its default. Raises ValueError for a field
        that this program does not know."""
        known = {field.name for field in fields(SearchConfig)}
        unknown = sorted(self.facts["config"].keys() - known)
        if unknown:
            raise ValueError(f"the state has the setting {unknown[0]!r}, which this program does not know")
        return SearchConfig(**self.facts["config"])

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


def check_same_search(state: SearchState, search: Search) -> None:
    """Raises ValueError, naming the field and both values, unless ``search`` began as the saved one did.

    How many problems are searched at once is a matter of the machines that are there, which may be others now.
    """
    saved, wanted = asdict(state.config), asdict(replace(search.config, at_once=state.config.at_once))
    saved |= {"names": tuple(state.facts["names"]), "num_levels": state.facts["num_levels"]}
    wanted |= {"names": search.names, "num_levels": search.num_levels}
    for name, value in wanted.items():
        _require_equal(name, saved[name], value)
    count = len(search.names)
    roots, states = search.states.values[:count], state.arrays["states"]
    _require_equal("states' shape and type", (states.shape[1:], states.dtype.name), (roots.shape[1:], roots.dtype.name))
    for name, there, here in zip(search.names, states, roots, strict=False):
        if not np.array_equal(there, here, equal_nan=there.dtype.kind in "fc"):
            _require_equal(f"root state of {name!r}", there, here, differ=True)


def _require_equal(name: str, saved: object, wanted: object, differ: bool = False) -> None:
    if differ or saved != wanted:
        raise ValueError(
            f"the checkpoint is of another search: its {name} is {saved!r}, here it is {wanted!r}; "
            "resume with the settings it was made with, or choose another place for checkpoints"
        )
