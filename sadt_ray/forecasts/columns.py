"""What the columns of a forecast file mean: item, date, outcome, and which quantile of which model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

ITEM = ("item_id", "unique_id")
DATE = ("timestamp", "ds", "date", "datetime")
OUTCOME = ("y", "target")
SAMPLE, VALUE = "sample", "value"
_IGNORED = ("cutoff", "index", "mean")
_PREFIXES = ("quantile_", "quantile", "q_", "q", "p_", "p")


@dataclass
class Columns:
    """Columns by meaning. ``quantiles`` maps a model, often the empty name, to the column of each level."""

    item: str | None = None
    date: str | None = None
    outcome: str | None = None
    quantiles: dict[str, dict[float, str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def samples(self) -> bool:
        """Whether the table is long: one row per item, date and sample."""
        return {SAMPLE, VALUE} <= set(self.unknown)


def columns_of(names: Sequence[str]) -> Columns:
    """Sort the columns of a table by meaning.

    Spellings of a quantile: ``0.1``; ``q10``, ``q0.1``, ``p90``, ``quantile_0.9``; ``Model-lo-80`` and ``Model-hi-80``,
    the ends of a central interval of 80 %, so the levels 0.1 and 0.9; ``Model_ql0.1``; ``median`` and ``Model-median``.
    A column ``Model`` beside intervals of that model is its median, unless there is a ``Model-median``.
    """
    found = Columns()
    for name in names:
        if name.lower() in ITEM and found.item is None:
            found.item = name
        elif name.lower() in DATE and found.date is None:
            found.date = name
        elif name.lower() in OUTCOME:
            found.outcome = name
        elif name.lower() in _IGNORED or name.startswith("Unnamed:"):
            if name.lower() == "mean":
                found.notes.append("column 'mean' is not a quantile and was not used")
        elif (known := _model_and_level(name)) is not None:
            _add(found, *known, name)
        else:
            found.unknown.append(name)
    for name in [name for name in found.unknown if name in found.quantiles]:
        found.unknown.remove(name)
        if 0.5 not in found.quantiles[name]:
            found.quantiles[name][0.5] = name
            found.notes.append(f"column {name!r} was taken as the median")
        else:
            found.notes.append(f"column {name!r} was not used: there is a median")
    return found


def _add(found: Columns, model: str, level: float, name: str) -> None:
    levels = found.quantiles.setdefault(model, {})
    if level in levels:
        found.faults.append(f"columns {levels[level]!r} and {name!r} are both the quantile {level:g}; remove one")
    levels[level] = name


def _model_and_level(name: str) -> tuple[str, float] | None:
    """Model and level of a column; None if it is no quantile. Levels are rounded to 12 digits."""
    for part, sign in (("-lo-", -1), ("-hi-", 1)):
        model, found, percent = name.rpartition(part)
        width = _number(percent) if found else None
        if width is not None and 0 < width < 100:
            return model, round(0.5 + sign * width / 200, 12)
    model, found, level = name.rpartition("_ql")
    if found and (number := _number(level)) is not None and 0 < number < 1:
        return model, round(number, 12)
    model, found, word = name.rpartition("-")
    if word.lower() == "median":
        return model, 0.5
    plain = _level(name)
    return None if plain is None else ("", plain)


def _level(name: str) -> float | None:
    """The level of ``0.1``, ``q10``, ``p90``, ``quantile_0.9``; None for anything else."""
    number = _number(name)
    if number is not None:
        return round(number, 12) if 0 < number < 1 else None
    for prefix in _PREFIXES:
        if name.lower().startswith(prefix) and (number := _number(name[len(prefix) :])) is not None:
            level = number if 0 < number < 1 else number / 100
            return round(level, 12) if 0 < level < 1 else None
    return None


def _number(text: str) -> float | None:
    """A plain decimal number."""
    digits = text.replace(".", "", 1)
    return float(text) if digits.isascii() and digits.isdigit() else None
