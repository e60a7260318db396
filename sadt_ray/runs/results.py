"""What a method found: every problem's weighted samples by name, with a table, averages and files.

    result = sadt_ray.sample(process, problems, reward, dts(inv_temperature=50))
    result["ETTh1/test/0007/OT"].quantiles([0.1, 0.5, 0.9])
    result.summary(); result.to_frame(); result.save("runs/a")

A problem of which no sample has any weight (log Z is -inf, or there is no sample at all) is not a success: tables say
so, its effective sample size is 0, its quantiles and mean are NaN, and averages of scores leave it out.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from operator import index as as_index
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from sadt_ray.config import settings_of
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method
from sadt_ray.metrics import quantiles
from sadt_ray.runs.directory import is_text, samples_table, write_json, write_problems, write_samples
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.scores import ProblemScores, forecast_scores, write_scores
from sadt_ray.runs.summary import QUALITY, Scores, budget_of, quality, score_problem
from sadt_ray.runs.tables import format_cell, html_table, text_table
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search

MAX_ROWS = 20
"""Problems that a table shows."""
NO_WEIGHT = "no sample has any weight under the reward"
NO_SAMPLE = "there is no sample yet"
COLUMNS = ("problem", "rollouts", "NFE", "reward", "log Z", "±", "ESS / root ESS", "CRPS")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProblemSamples(WeightedSamples):
    """The weighted samples of one problem, with its name.

    All that ``WeightedSamples`` has is here too. ``SampleResult`` makes these; two are equal if they are the same.

    Attributes:
        problem: whose samples they are.
        by_reward: whether the weights come from the reward; False for the prior's samples, which are alike.
        recorded_ess: effective sample size of the search, where the samples here are not all of it; None otherwise.
    """

    problem: Problem
    by_reward: bool = True
    recorded_ess: float | None = None

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @classmethod
    def of(
        cls, problem: Problem, drawn: WeightedSamples, by_reward: bool = True, recorded_ess: float | None = None
    ) -> ProblemSamples:
        """The samples ``drawn`` for ``problem``."""
        told = {field.name: getattr(drawn, field.name) for field in fields(WeightedSamples)}
        found = cls(**told, problem=problem, by_reward=by_reward, recorded_ess=recorded_ess)
        if not found.weightless:
            return found
        return replace(found, root_ess=0.0, weights=np.zeros(len(found.weights)))  # not alike: none counts

    @property
    def name(self) -> str:
        """Of the problem."""
        return self.problem.name

    @property
    def weightless(self) -> bool:
        """Whether no sample has any weight: there is none, or every one is impossible under the reward."""
        return not self.weights.sum() > 0 or (self.by_reward and self.log_z == -math.inf)

    @property
    def ess(self) -> float:
        """Effective sample size of the weights; 0 where no sample has any weight."""
        if self.weightless:
            return 0.0
        return super().ess if self.recorded_ess is None else self.recorded_ess

    def mean_reward(self) -> float:
        """Weighted mean reward; -inf where every sample is impossible, NaN without a sample."""
        if self.weightless:
            return float(np.mean(self.rewards)) if len(self.rewards) else math.nan
        return super().mean_reward()

    def quantiles(self, levels: Sequence[float]) -> Float[np.ndarray, "levels ..."]:
        """Weighted quantiles of every value of a sample: [levels, *shape of a sample], in the units of the samples.

        NaN where no sample has any weight. See ``metrics.quantiles`` for the definition.

        Raises ValueError for levels outside 0 to 1, and for texts.
        """
        self._require_numbers("quantiles")
        flat = self.samples.reshape(len(self.samples), math.prod(self.samples.shape[1:]))
        if self.weightless:
            flat, weights = np.full((1, flat.shape[1]), np.nan), np.ones(1)
        else:
            weights = self.weights
        found = quantiles(flat, levels, weights)
        return found.reshape(len(found), *self.samples.shape[1:])

    def mean(self) -> Float[np.ndarray, ...]:
        """Weighted mean of the samples, in their shape and units; NaN where no sample has any weight.

        Raises ValueError for texts.
        """
        self._require_numbers("mean")
        if self.weightless:
            return np.full(self.samples.shape[1:], np.nan)
        return np.tensordot(self.weights, np.asarray(self.samples, float), axes=1)

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """``size`` samples of equal weight, with replacement: [size, ...].

        Raises ValueError where no sample has any weight.
        """
        if self.weightless:
            raise ValueError(f"nothing can be drawn for problem {self.name!r}: {self.remark}")
        return super().draw(size, rng)

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` in long form, one row per number: ``problem, sample, weight, reward, step, value``.

        ``step`` counts time steps from 0; samples of several channels, [n, C, T], have a column ``channel`` before
        it; samples of more dimensions have ``axis_1``, ``axis_2``, ... Texts have one row each, with a column
        ``text``.

        Raises ImportError without pandas.
        """
        pandas = _pandas()
        count = len(self.samples)
        about = {"problem": [self.name] * count, "sample": np.arange(count), "weight": self.weights}
        frame = pandas.DataFrame({**about, "reward": self.rewards})
        if is_text(self.samples):
            return frame.assign(text=self.samples.tolist())
        shape = self.samples.shape[1:]
        frame = frame.loc[frame.index.repeat(math.prod(shape))].reset_index(drop=True)
        for name, places in zip(_axes(len(shape)), np.indices(shape), strict=True):
            frame[name] = np.tile(places.reshape(-1), count)
        return frame.assign(value=self.samples.reshape(-1))

    @property
    def remark(self) -> str:
        """What is wrong with the samples, in words; empty if nothing is."""
        if self.log_z == -math.inf or (self.weightless and len(self.samples)):
            return NO_WEIGHT
        return NO_SAMPLE if self.weightless else ""

    def __repr__(self) -> str:
        count = f"{len(self.samples):,} sample{'s' * (len(self.samples) != 1)}"
        if self.weightless:
            return f"<ProblemSamples {self.name!r}: {count}, {self.remark}>"
        figures = (
            f"reward {format_cell(self.mean_reward())}, log Z {format_cell(self.log_z)}, ESS {format_cell(self.ess)}"
        )
        return f"<ProblemSamples {self.name!r}: {count} of shape {list(self.samples.shape[1:])}, {figures}>"

    def _require_numbers(self, what: str) -> None:
        if is_text(self.samples):
            raise ValueError(
                f"the samples of problem {self.name!r} are texts, which have no {what}; read samples and weights, or "
                "call draw() or to_frame()"
            )


class SampleResult(Sequence[ProblemSamples]):
    """What one method found for P problems.

    A sequence of ``ProblemSamples`` in the order of the problems (``result[0]``, ``len``, loops, ``(found,) = result``)
    and a mapping by their names (``result["ETTh1/test/0007/OT"]``, ``keys``, ``items``; ``name in result``).

    Args:
        method: that was used. Its name alone, where a run directory does not describe it.
        problems: P of them, with different names.
        samples: each problem's samples, in the same order.
        nfe, reward_calls, rollouts: [P], what each problem cost: function evaluations, samples that were scored, and
            rollouts, each particle being one. NaN where a run directory does not say.
        seconds: of wall-clock, for all problems together.
        notes: sentences for whoever reads the result.
        run: the run directory; None if nothing was written.
        recorded: the averages that the run recorded, as ``summary`` gives them; None to compute them.
        recorded_ess: [P], effective sample sizes that the run recorded, where it kept only some of its samples.

    Raises:
        ValueError: for columns of different lengths, or two problems of one name.
    """

    def __init__(
        self,
        method: Method | str,
        problems: Sequence[Problem],
        samples: Sequence[WeightedSamples],
        nfe: np.ndarray | Sequence[float],
        reward_calls: np.ndarray | Sequence[float],
        rollouts: np.ndarray | Sequence[float],
        seconds: float,
        notes: Sequence[str] = (),
        run: Path | None = None,
        recorded: Mapping[str, object] | None = None,
        recorded_ess: Sequence[float] | None = None,
    ) -> None:
        self.method, self.problems = method, tuple(problems)
        self.nfe, self.reward_calls, self.rollouts = np.asarray(nfe), np.asarray(reward_calls), np.asarray(rollouts)
        self.seconds, self.notes, self.run = seconds, tuple(notes), run
        self._recorded = None if recorded is None else dict(recorded)
        lengths = {"samples": len(samples)}
        lengths |= {name: len(getattr(self, name)) for name in ("nfe", "reward_calls", "rollouts")}
        for name, length in lengths.items():
            if length != len(self.problems):
                raise ValueError(f"{name} must have one entry per problem, {len(self.problems)}, got {length}")
        self._place = {problem.name: place for place, problem in enumerate(self.problems)}
        if len(self._place) < len(self.problems):
            names = [problem.name for problem in self.problems]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the name {twice!r} occurs more than once; problems of one result need different names")
        by_reward = self.method_name != "prior" if isinstance(method, str) else method.search.draw != "uniform"
        sizes = [None] * len(self.problems) if recorded_ess is None else recorded_ess
        self._samples = tuple(
            ProblemSamples.of(problem, drawn, by_reward, size)
            for problem, drawn, size in zip(self.problems, samples, sizes, strict=True)
        )

    @classmethod
    def of_search(
        cls,
        method: Method,
        problems: Sequence[Problem],
        search: Search,
        seconds: float,
        notes: Sequence[str] = (),
        run: Path | None = None,
    ) -> SampleResult:
        """The result of a search under the draw of ``method``, at any moment.

        A problem that has no sample yet, or of which every rollout came to nothing, is in it without samples.
        """
        told = search.with_samples().tolist()
        drawn = dict(zip(told, search.samples(method.search, told), strict=True))
        like = next(iter(drawn.values())).samples if drawn else np.empty(0)
        values = search.config.inv_temperature * search.tree.columns.value[: len(problems)]
        log_z = np.where(search.told > 0, values, np.nan)  # nothing is known before the first rollout
        return cls(
            method=method,
            problems=problems,
            samples=[drawn[k] if k in drawn else no_samples(float(log_z[k]), like) for k in range(len(problems))],
            nfe=search.nfe.copy(),
            reward_calls=search.reward_calls.copy(),
            rollouts=search.told * method.smc.particles,
            seconds=seconds,
            notes=notes,
            run=run,
        )

    @property
    def method_name(self) -> str:
        """As on the command line and in tables."""
        return self.method if isinstance(self.method, str) else self.method.name

    @overload
    def __getitem__(self, which: int | str) -> ProblemSamples: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[ProblemSamples]: ...
    def __getitem__(self, which: int | str | slice) -> ProblemSamples | Sequence[ProblemSamples]:
        """By place or by name; a slice gives a tuple. Raises IndexError, or KeyError naming the nearest name."""
        if isinstance(which, str):
            if which not in self._place:
                near = get_close_matches(which, self._place, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {len(self)}, see names()"
                raise KeyError(f"no problem is called {which!r}; {hint}")
            return self._samples[self._place[which]]
        return self._samples[which if isinstance(which, slice) else as_index(which)]

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[ProblemSamples]:
        return iter(self._samples)

    def __contains__(self, what: object) -> bool:
        """Of a name, whether a problem is called so."""
        return what in self._place if isinstance(what, str) else what in self._samples

    def names(self) -> list[str]:
        """Of the problems, in their order."""
        return list(self._place)

    def keys(self) -> list[str]:
        """The names, so that ``dict(result)`` works."""
        return self.names()

    def items(self) -> list[tuple[str, ProblemSamples]]:
        """Name and samples of every problem."""
        return list(zip(self._place, self._samples, strict=True))

    def quantiles(self, levels: Sequence[float]) -> dict[str, Float[np.ndarray, "levels ..."]]:
        """Every problem's ``quantiles`` by its name; ``np.stack(list(...values()))`` is one array, [P, levels, ...].

        Raises ValueError for levels outside 0 to 1, and for texts.
        """
        return {name: samples.quantiles(levels) for name, samples in self.items()}

    def summary(self) -> dict[str, object]:
        """Averages over problems of cost and quality, with the names of ``runs.summary.summary_row``.

        Problems of which no sample has any weight count in costs, in ``log_z`` (which is then -inf) and, with 0, in
        ``ess`` and ``root_ess``; all other columns leave them out, and ``without_weight`` says how many they are. It
        is there only if there are any. What is not defined or not known is None or NaN.
        """
        if self._recorded is not None and not any(samples.weightless for samples in self):
            return dict(self._recorded)
        row: dict[str, object] = {"method": self.method_name, "budget": self._budget(), **self._cost()}
        row |= quality(self, [self._scores(place) for place in range(len(self))])
        if self._recorded is not None:  # of what it has, cost as it is and quality without those
            found = {name: row[name] for name in QUALITY if name in self._recorded}
            row = {**self._recorded, **found, "without_weight": row["without_weight"]}
        return row

    def _budget(self) -> str:
        return "" if isinstance(self.method, str) else budget_of(self.method)

    def _cost(self) -> dict[str, object]:
        per_problem = {"rollouts": self.rollouts, "nfe": self.nfe, "reward_calls": self.reward_calls}
        means = {name: float(np.mean(column)) if len(column) else math.nan for name, column in per_problem.items()}
        return {**means, "seconds_per_context": self.seconds / max(len(self), 1)}

    def to_arrow(self) -> pa.Table:
        """One row per sample, as in ``samples.parquet``: ``method, problem, sample, weight, reward, nfe_at, node``,
        and ``values``, a list, or ``text``."""
        return samples_table(self.names(), {self.method_name: self._samples})

    def to_frame(self) -> Any:
        """The data frames of all problems, one below the other. Raises ImportError without pandas."""
        frames = [samples.to_frame() for samples in self]
        full = [frame for frame in frames if len(frame)] or frames[:1]
        return _pandas().concat(full, ignore_index=True)

    def save(self, directory: str | Path) -> Path:
        """Write a run directory that ``read_run`` reads, and ``python -m jobs.report`` where samples are series.

        It is written beside its place and then moved there, so that it is whole or not there at all. Of the problems
        it holds name, context and truth. Trees, trajectories and checkpoints are kept only by a search with ``out``.

        Returns the directory.

        Raises:
            ValueError: if the directory is not empty, nothing being overwritten, or a problem's context is no array.
        """
        place = Path(directory).resolve()
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ValueError(f"{directory} is not an empty directory; choose another one, or remove it")
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.writing-{os.getpid()}")
        unfinished.mkdir(exist_ok=True)
        try:
            self._write(unfinished)
            if place.exists():
                place.rmdir()  # empty, or it is refused
            unfinished.rename(place)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return Path(directory)

    def _write(self, run: Path) -> None:
        settings: dict[str, object] = {"method": [self.method_name]}
        described = []
        if not isinstance(self.method, str):
            settings |= {"inv_temperature": self.method.search.inv_temperature, "seed": self.method.search.seed}
            described = [_described(self.method)]
        config = {"search": settings, "methods": described, "problems": self.names()}
        write_json(run / "config.json", {**config, "environment": describe_environment()})
        write_problems(run, self.problems)
        write_samples(run, self.names(), {self.method_name: self._samples})
        write_scores(run, self._problem_scores())
        notes = list(dict.fromkeys([*self.notes, *self._remarks()]))
        write_json(run / "summary.json", {"rows": [self.summary()], "notes": notes, "complete": True})

    def _problem_scores(self) -> list[ProblemScores]:
        """Those that a run has, with all else that the table and ``read_run`` need of a problem."""
        scores = [self._scores(place) for place in range(len(self))]
        rows = forecast_scores(self.method_name, self.problems, self._samples, scores, self.nfe.tolist())
        more = [
            {
                "root_ess": samples.root_ess,
                "log_z_se": samples.log_z_se,
                "mean_reward_se": samples.mean_reward_se,
                "rollouts": float(rollouts),
                "reward_calls": float(reward_calls),
            }
            for samples, rollouts, reward_calls in zip(self, self.rollouts, self.reward_calls, strict=True)
        ]
        return [row._replace(figures={**row.figures, **extra}) for row, extra in zip(rows, more, strict=True)]

    @cached_property
    def _scored(self) -> dict[int, Scores]:
        return {}

    def _scores(self, place: int) -> Scores:
        """Of one problem; computed when first asked for. Raises ValueError for a truth that does not fit."""
        if place not in self._scored:
            samples = self._samples[place]
            self._scored[place] = score_problem(samples.problem, samples)
        return self._scored[place]

    def __repr__(self) -> str:
        columns, rows, below = self._table()
        return "\n".join([self._title(), text_table(columns, rows), *below])

    def _repr_html_(self) -> str:
        columns, rows, below = self._table()
        return html_table(self._title(), columns, rows, below)

    def _title(self) -> str:
        problems = f"{len(self):,} problem{'s' * (len(self) != 1)}"
        return f"{self.method_name}: {problems}, {sum(len(samples.weights) for samples in self):,} samples"

    def _table(self) -> tuple[list[str], list[list[str]], list[str]]:
        """Columns, rows and the lines below."""
        shown = range(min(len(self), MAX_ROWS))
        remarks = any(self._samples[place].remark for place in shown)
        truths = any(self._samples[place].problem.truth is not None for place in shown)
        columns = [name for name in COLUMNS if truths or name != "CRPS"] + [""] * remarks
        rows = [self._row(place)[: len(COLUMNS) - (not truths)] for place in shown]
        if remarks:
            rows = [[*row, self._samples[place].remark] for row, place in zip(rows, shown, strict=True)]
        more = [f"... and {len(self) - MAX_ROWS:,} more"] if len(self) > MAX_ROWS else []
        return columns, rows, [*more, *dict.fromkeys([*self._remarks(), *self.notes])]

    def _row(self, place: int) -> list[str]:
        samples = self._samples[place]
        try:
            score = self._scores(place).crps
        except ValueError:  # a truth that does not fit: summary() says so
            score = None
        reward = None if samples.weightless else samples.mean_reward()
        se = samples.log_z_se if math.isfinite(samples.log_z_se) and not samples.weightless else None
        figures = (_count(self.rollouts[place]), _count(self.nfe[place]), reward, samples.log_z, se)
        sizes = f"{format_cell(samples.ess)} / {format_cell(samples.root_ess)}"
        return [samples.name, *map(format_cell, figures), sizes, format_cell(score)]

    def _remarks(self) -> list[str]:
        """One sentence per kind of remark, with the number of problems that it is about."""
        found = Counter(samples.remark for samples in self if samples.remark)
        of = f" of {len(self):,} problems" if len(self) > 1 else " problem"
        return [f"{count:,}{of}: {remark}." for remark, count in found.items()]


def no_samples(log_z: float, like: np.ndarray | None = None) -> WeightedSamples:
    """No samples of the shape and kind of ``like``, [n, ...]; ``log_z`` is -inf where all rollouts came to nothing."""
    like = np.empty(0) if like is None else like
    none = np.empty(0)
    return WeightedSamples(like[:0], none, none, np.empty(0, np.int64), log_z, 0.0, nodes=np.empty(0, np.int64))


def _described(method: Method) -> dict[str, object]:
    """The method as ``config.json`` has it: functions by their names."""
    described = settings_of(method)
    del described["sized"]
    return described


def _axes(count: int) -> list[str]:
    """Names of the axes of a sample."""
    known = [[], ["step"], ["channel", "step"]]
    return known[count] if count < len(known) else [f"axis_{number}" for number in range(1, count + 1)]


def _count(value: float) -> float | int:
    """An integer where it is one; NaN stays."""
    return int(value) if math.isfinite(value) and value == int(value) else float(value)


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ImportError as error:
        raise ImportError("to_frame needs pandas: pip install pandas; to_arrow() does without") from error
