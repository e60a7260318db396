"""The summary as text and as a table: a headline, and one HTML row per method and budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sadt_ray.report.style import method_colours, method_name, number

Row = Mapping[str, Any]

COLUMN_NAMES = {
    "nfe": "NFE",
    "reward_calls": "reward calls",
    "seconds_per_context": "s/context",
    "best_reward": "best reward",
    "probability_low": "95\u00a0% from",
    "probability_high": "to",
    "log_z": "log Z",
    "ess": "ESS",
    "root_ess": "root ESS",
    "crps": "CRPS",
    "crps_se": "\u00b1",
    "crps_vs_prior": "minus prior's",
    "crps_vs_prior_se": "\u00b1",
    "spec_w1": "Spec-W1",
    "log_spectral_distance": "log-spectral distance",
    "energy_score": "energy score",
    "mse": "MSE",
    "mae": "MAE",
    "coverage90": "coverage of 90\u00a0%",
}
DECIMALS = {"ess": 1, "root_ess": 1, "log_z": 2, "seconds_per_context": 2, "coverage90": 3} | dict.fromkeys(
    ("crps", "crps_se", "crps_vs_prior", "crps_vs_prior_se"), 4
)
"""Columns with a fixed number of decimals; other columns use ``number``."""
HIGHER_IS_BETTER = ("reward", "best_reward")
LOWER_IS_BETTER = ("crps", "spec_w1", "log_spectral_distance", "energy_score", "mse", "mae", "abs_bias", "ed", "edp")
"""Costs, log Z and effective sample sizes have no best value: the cheapest method or the prior would always win."""


def headline(rows: Sequence[Row], with_tree: Sequence[str] = ()) -> tuple[str, str]:
    """The result of the run in two sentences: the reward of a method compared with the others, and its quality.

    The method is the first one with a tree (``with_tree``). Every method is taken at its largest budget.
    """
    largest = {str(row["method"]): row for row in sorted(rows, key=lambda row: row.get("nfe") or 0)}
    listed = dict.fromkeys(str(row["method"]) for row in rows)
    methods = [method for method in listed if _number(largest[method], "reward") is not None]
    steered = [method for method in methods if method != "prior"]
    if not steered and any(row.get("without_weight") for row in rows):
        return "Nothing was found: no sample has any weight under the reward.", ""
    if not steered:
        return ("The prior alone was sampled." if methods else "The run left no rewards."), ""
    subject = next((method for method in steered if method in with_tree), steered[-1])
    row = largest[subject]
    prior = largest["prior"] if "prior" in methods else None
    others = [method for method in steered if method != subject]
    said = _reward_sentence(subject, row, prior) + _reached(largest, others, row.get("budget")) + "."
    return _condition_sentence(row) + said, _quality_sentence(row, prior)


def _condition_sentence(row: Row) -> str:
    """The probability of the condition first, where there is one."""
    if row.get("satisfied") is None:
        return ""
    satisfied = f"{number(row['satisfied'])} of the weight satisfies the condition"
    if row.get("probability") is None:
        return f"{satisfied}. "
    ends = [row.get(name) for name in ("probability_low", "probability_high")]
    interval = "" if None in ends else f" (95 %: {ends[0]:.2g} to {ends[1]:.2g})"
    return f"P = {number(row['probability'])}{interval}; {satisfied}. "


def _reward_sentence(subject: str, row: Row, prior: Row | None) -> str:
    budget = f" with {row['budget']}" if row.get("budget") else ""
    if prior is None:
        return f"{method_name(subject)} reaches a mean reward of {number(row['reward'])}{budget}"
    gain = row["reward"] - prior["reward"]
    verb = "raises" if gain > 0 else "lowers" if gain < 0 else "leaves"
    start, end = number(prior["reward"]), number(row["reward"])
    way = f"from {start} (prior) to {end}" if gain else f"at {end}"
    return f"{method_name(subject)} {verb} the mean reward {way}{budget}"


def _reached(largest: Mapping[str, Row], others: Sequence[str], budget: str | None) -> str:
    """The rewards of the other methods: by name if they are few, with a budget if it differs."""
    if not others:
        return ""
    rewards = [largest[method]["reward"] for method in others]
    if len(others) > 3:
        return f"; {len(others)} other methods reach {number(min(rewards))} to {number(max(rewards))}"
    budgets = [largest[method].get("budget") for method in others]
    added = [f" with {other}" if other and other != budget else "" for other in budgets]
    parts = zip(others, rewards, added, strict=True)
    return "; " + ", ".join(f"{method_name(method)} reaches {number(reward)}{more}" for method, reward, more in parts)


def _quality_sentence(row: Row, prior: Row | None) -> str:
    shown = [name for name in ("log_spectral_distance", "spec_w1", "crps") if _number(row, name) is not None]
    if prior is None or not shown:
        return ""
    parts = [
        f"{COLUMN_NAMES[name]} {number(row[name])} (prior {number(prior[name])})"
        for name in shown
        if _number(prior, name) is not None
    ]
    ess = f" Effective sample size {entry('ess', row['ess'])}." if _number(row, "ess") is not None else ""
    return f"Lower is better: {', '.join(parts)}.{ess}" if parts else ""


def summary_table(rows: Sequence[Row]) -> str:
    """The rows as an HTML table with all their columns, in order; the best value of a column is bold."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    colours = method_colours(dict.fromkeys(str(row["method"]) for row in rows))
    head = "".join(f'<th scope="col">{escape(COLUMN_NAMES.get(c, c.replace("_", " ")))}</th>' for c in columns)
    best = {column: best_value(rows, column) for column in columns}
    body = "".join(_table_row(row, columns, best, colours[str(row["method"])]) for row in rows)
    table = f'<table class="summary"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def best_value(rows: Sequence[Row], column: str) -> float | None:
    """The best value of a column; None if the column has no better direction or no two different values."""
    values = [value for row in rows if (value := _number(row, column)) is not None]
    if len(set(values)) < 2:
        return None
    if column in HIGHER_IS_BETTER:
        return max(values)
    if column.startswith("coverage"):
        nominal = float(column.removeprefix("coverage") or 90) / 100
        return min(values, key=lambda value: abs(value - nominal))
    return min(values) if column in LOWER_IS_BETTER else None


def _table_row(row: Row, columns: Sequence[str], best: Mapping[str, float | None], colour: str) -> str:
    cells = []
    for column in columns:
        value = row.get(column)
        if column == "method":
            cells.append(f'<th scope="row" style="color:{colour}">{escape(method_name(str(value)))}</th>')
        elif isinstance(value, str):
            cells.append(f'<td class="text">{escape(value)}</td>')
        else:
            mark = ' class="best"' if best[column] is not None and value == best[column] else ""
            cells.append(f"<td{mark}>{entry(column, value)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def entry(column: str, value: float | None) -> str:
    """Format a number for its column."""
    if column in DECIMALS and value is not None and math.isfinite(value):
        return f"{value:,.{DECIMALS[column]}f}".replace("-", "−")
    return number(value)


def _number(row: Row, column: str) -> float | None:
    value = row.get(column)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return float(value) if usable and value is not None else None
