"""The time steps that a span names: days, hours, dates and times of day of a horizon.

Dates and times are those of the series' own time zone, as a clock on the wall shows them. So a day on which the clocks
change has 23 or 25 hours. Hours by number are hours that have passed since the first time step. Both ends of a span are
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int

from sadt_ray.conditions.grammar import DAYS
from sadt_ray.conditions.syntax import CHARACTERS, ConditionError, Counted, Endpoint, Interval, Number, Part, Weekdays
from sadt_ray.interfaces import TimeAxis

if TYPE_CHECKING:
    import pandas as pd

_NO_DATES = "Name time steps by number, as in [steps 1..24], or give the problem its TimeAxis."
UNIT_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
STEP_UNITS = ("step", "steps")


@dataclass(frozen=True)
class Calendar:
    """T time steps and their dates.

    Attributes:
        axis: None if the dates are not known.
        num_steps: T.

    Raises ValueError (when dates are needed) for a start, step or zone that pandas cannot read.
    """

    axis: TimeAxis | None
    num_steps: int

    def steps(self, parts: tuple[Part, ...], text: str, bracket: CHARACTERS) -> tuple[int, ...]:
        """The time steps, from 0, that are in all parts of a bracket. Raises ConditionError if there are none."""
        chosen = np.ones(self.num_steps, bool)
        for part in parts:
            chosen &= self._part(part, text)
        if not chosen.any():
            raise ConditionError("no time step is in this span", text, bracket, self.extent())
        return tuple(np.flatnonzero(chosen).tolist())

    def extent(self) -> str:
        """The first and last time step in words."""
        if self.axis is None:
            return f"The horizon has the steps 1..{self.num_steps}, without dates."
        first, last = _minute(self.local[0]), _minute(self.local[-1])
        return f"The horizon has {self.num_steps} steps, from {first} to {last} (step {self.axis.step})."

    def seconds_per_step(self) -> float | None:
        """Length of a time step; None if not known or not always the same, such as a month."""
        import pandas as pd

        if self.axis is None:
            return None
        offset = pd.tseries.frequencies.to_offset(self.axis.step)
        try:
            return pd.Timedelta(offset).total_seconds()
        except ValueError:
            return None

    def steps_of(self, duration: Number, text: str) -> float:
        """A duration such as 4 h as a number of time steps, which need not be whole."""
        if duration.unit in ("", *STEP_UNITS):
            return duration.value
        if duration.unit not in UNIT_SECONDS:
            remedy = "Durations are written 30min, 4h, 2d or 4 steps."
            raise ConditionError(f"{duration.unit!r} is no unit of time", text, duration.span, remedy)
        length = self.seconds_per_step()
        if length is None:
            why = (
                "without dates a time step has no length" if self.axis is None else f"a step of {self.axis.step} varies"
            )
            raise ConditionError(why, text, duration.span, f"Give a number of steps instead of {duration}.")
        return duration.value * UNIT_SECONDS[duration.unit] / length

    @cached_property
    def _index(self) -> pd.DatetimeIndex:
        """T + 1 time steps: the last one is the end of the horizon."""
        import pandas as pd

        assert self.axis is not None
        start = pd.Timestamp(self.axis.start)
        if self.axis.zone is not None:
            zone = self.axis.zone
            aware = start.tzinfo is not None
            start = start.tz_convert(zone) if aware else start.tz_localize(zone, ambiguous=True)
        index = pd.date_range(start, periods=self.num_steps + 1, freq=self.axis.step)
        if index[0] != start:
            raise ValueError(f"the time axis starts at {start}, which is no step of {self.axis.step!r}")
        return index

    @cached_property
    def local(self) -> np.ndarray:
        """The time that a clock shows at each step."""
        index = self._index[:-1]
        return index.tz_localize(None).to_numpy("datetime64[s]") if index.tz else index.to_numpy("datetime64[s]")

    @cached_property
    def _elapsed(self) -> Int[np.ndarray, " T+1"]:
        """Seconds since the first step."""
        return (self._index - self._index[0]).total_seconds().to_numpy().astype(int)

    def _part(self, part: Part, text: str) -> Bool[np.ndarray, " T"]:
        needs_dates = not (isinstance(part, Counted) and _by_step(part))
        if needs_dates and self.axis is None:
            raise ConditionError("the time steps have no dates", text, part.span, _NO_DATES)
        if isinstance(part, Weekdays):
            return self._weekdays(part.word)
        return self._counted(part, text) if isinstance(part, Counted) else self._interval(part, text)

    def _weekdays(self, word: str) -> Bool[np.ndarray, " T"]:
        day = (self.local.astype("datetime64[D]").astype(int) + 3) % 7  # 1970-01-01 was a Thursday
        if word in DAYS:
            return day == DAYS.index(word)
        return day < 5 if word == "weekdays" else day >= 5

    def _counted(self, part: Counted, text: str) -> Bool[np.ndarray, " T"]:
        if part.word in ("first", "last"):
            return self._end_of_horizon(part, text)
        first = int(part.first.value)
        last = int(part.last.value) if part.last else first
        number = self.numbers(part.word)
        if last < first:
            remedy = f"Write [{part.word}s {last}..{first}]."
            raise ConditionError("this span ends before it begins", text, part.span, remedy)
        if last > number[-1]:
            raise ConditionError(f"there is no {part.word} {last}", text, part.span, self.extent())
        return (number >= first) & (number <= last)

    def numbers(self, word: str) -> Int[np.ndarray, " T"]:
        """The number, from 1, of the day, hour or step that each time step is in."""
        if word == "step":
            return np.arange(1, self.num_steps + 1)
        if word == "hour":
            return self._elapsed[:-1] // 3600 + 1
        days = self.local.astype("datetime64[D]").astype(int)
        return days - days[0] + 1

    def is_whole_day(self, number: int) -> bool:
        """Whether the horizon has all of day ``number``."""
        days = self.numbers("day")
        begins_at_midnight = self.local[0] == self.local[0].astype("datetime64[D]")
        end = self._index[-1].tz_localize(None).to_datetime64().astype("datetime64[s]")
        ends_at_midnight = end.astype("datetime64[D]") > self.local[-1].astype("datetime64[D]")
        return (number > 1 or bool(begins_at_midnight)) and (number < days[-1] or bool(ends_at_midnight))

    def _end_of_horizon(self, part: Counted, text: str) -> Bool[np.ndarray, " T"]:
        if _by_step(part):
            if part.first.value > self.num_steps:
                raise ConditionError(f"there are no {part.first.value:g} steps", text, part.span, self.extent())
            before, after = np.arange(self.num_steps), self.num_steps - np.arange(self.num_steps)
            return before < part.first.value if part.word == "first" else after <= part.first.value
        if part.first.unit not in UNIT_SECONDS:
            remedy = "Write [first 4h], [last 2d] or [first 10 steps]."
            raise ConditionError(f"{part.first.unit!r} is no unit of time", text, part.first.span, remedy)
        seconds = part.first.value * UNIT_SECONDS[part.first.unit]
        if seconds > self._elapsed[-1]:
            raise ConditionError("this span is longer than the horizon", text, part.span, self.extent())
        inside = self._elapsed[:-1] < seconds
        return inside if part.word == "first" else self._elapsed[-1] - self._elapsed[:-1] <= seconds

    def _interval(self, part: Interval, text: str) -> Bool[np.ndarray, " T"]:
        if part.first.kind == "time":
            return self._time_of_day(part)
        if part.last is None and part.first.kind == "moment":
            return self._moment(part.first, text)
        last = part.last or part.first
        lower, upper = _bounds(part.first)[0], _bounds(last)[1]
        if lower > upper:
            remedy = f"Write [{part.last}..{part.first}]."
            raise ConditionError("this span ends before it begins", text, part.span, remedy)
        for end in (part.first, last):
            self._check_inside(end, text)
        return (self.local >= lower) & (self.local <= upper)

    def _check_inside(self, end: Endpoint, text: str) -> None:
        first, last = _bounds(end)
        if last < self.local.min() or first > self.local.max():
            raise ConditionError(f"{end} is outside the horizon", text, end.span, self.extent())

    def _time_of_day(self, part: Interval) -> Bool[np.ndarray, " T"]:
        time = (self.local - self.local.astype("datetime64[D]")).astype(int)
        first, last = _seconds(part.first), _seconds(part.last or part.first)
        return (time >= first) & (time <= last) if first <= last else (time >= first) | (time <= last)

    def _moment(self, end: Endpoint, text: str) -> Bool[np.ndarray, " T"]:
        self._check_inside(end, text)
        found = self.local == _bounds(end)[0]
        if found.sum() == 1:
            return found
        if found.sum() > 1:
            numbers = " or ".join(f"[step {step + 1}]" for step in np.flatnonzero(found))
            raise ConditionError(f"{end} comes twice, as the clocks go back", text, end.span, f"Write {numbers}.")
        near = self.local[np.argsort(np.abs(self.local - _bounds(end)[0]), kind="stable")[:2]]
        remedy = f"The nearest are {' and '.join(_minute(each) for each in np.sort(near))}."
        raise ConditionError(f"there is no time step at {end}", text, end.span, remedy)


@lru_cache(maxsize=256)
def calendar_of(axis: TimeAxis | None, num_steps: int) -> Calendar:
    """The calendar of a horizon."""
    return Calendar(axis, num_steps)


def _by_step(part: Counted) -> bool:
    return part.word == "step" or (part.word in ("first", "last") and part.first.unit in ("", *STEP_UNITS))


def _bounds(end: Endpoint) -> tuple[Any, Any]:
    """The first and last second that an endpoint names."""
    if end.kind == "moment":
        moment = np.datetime64(end.text.replace(" ", "T"), "s")
        return moment, moment
    period = np.datetime64(end.text, "D" if end.kind == "date" else "M")
    return period.astype("datetime64[s]"), (period + 1).astype("datetime64[s]") - np.timedelta64(1, "s")


def _seconds(end: Endpoint) -> int:
    hours, minutes, *seconds = map(int, end.text.split(":"))
    return 3600 * hours + 60 * minutes + sum(seconds)


def _minute(moment: Any) -> str:
    text = str(moment).replace("T", " ")
    return text.removesuffix(":00") if text.endswith(":00") else text
