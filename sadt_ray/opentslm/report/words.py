"""The results of a stage run in words: two sentences and a table of its methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from sadt_ray.metrics.clustered import Estimate, paired_difference
from sadt_ray.opentslm.report.data import StageRun
from sadt_ray.report.style import method_colours, number

Row = Mapping[str, Any]
BASELINES = ("answer-vote", "self-consistency")
SAME_TOKENS = 1.05
"""Factor within which two methods are said to cost the same."""

COLUMNS = {
    "rationales": "rationales",
    "tokens": "tokens/\u200bexample",
    "reward_calls": "reward calls",
    "seconds_per_example": "s/example",
    "accuracy": "accuracy",
    "vs_vote": "minus answer-vote's",
    "macro_f1": "macro-F1",
    "kappa": "Cohen's kappa",
    "rouge_l": "ROUGE-L",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "bleu": "BLEU",
    "ece": "ECE",
    "brier": "Brier",
    "unparsable": "no answer",
    "accuracy_upstream": "accuracy, upstream's",
    "macro_f1_upstream": "macro-F1, upstream's",
}
"""Name of each column of the table; any other that a row has comes after them under its own."""
HIGHER_IS_BETTER = ("accuracy", "macro_f1", "kappa", "rouge_l", "rouge_1", "rouge_2", "bleu")
LOWER_IS_BETTER = ("ece", "brier", "unparsable")
NOT_SHOWN = ("method", "oracle", "accuracy_se")
DECIMALS = dict.fromkeys((*HIGHER_IS_BETTER, "ece", "brier", "vs_vote", "accuracy_upstream", "macro_f1_upstream"), 3)
WORDS = {"accuracy": "accuracy", "rouge_l": "ROUGE-L", "bleu": "BLEU"}


def main_metric(run: StageRun) -> str:
    """The metric that methods are compared by: accuracy, or ROUGE-L for captions."""
    return next((name for name in WORDS if any(known(row, name) is not None for row in run.rows)), "accuracy")


def against(run: StageRun, method: str, baseline: str) -> Estimate | None:
    """Accuracy of a method minus that of a baseline, paired over questions, with an error clustered by source.

    None if there is no question with a gold answer that both answered.
    """
    mine, theirs = run.correct(method), run.correct(baseline)
    both = [problem for problem in mine if problem in theirs]
    if not both or method == baseline:
        return None
    sources = [run.questions[problem].source for problem in both]
    return paired_difference([mine[p] for p in both], [theirs[p] for p in both], sources)


def headline(run: StageRun) -> tuple[str, str]:
    """A sentence that compares the best deployable method with the votes at the same cost, and one about its errors."""
    metric = main_metric(run)
    judged = [row for row in run.rows if known(row, metric) is not None]
    if not judged:
        return f"{_where(run)}: {len(run.questions)} questions were answered; none could be judged.", ""
    deployable = [row for row in judged if row["method"] not in run.oracles]
    best = max(deployable or judged, key=lambda row: (row[metric], -(row.get("tokens") or 0)))
    others = _compared(run, best, [row for row in judged if row is not best], metric)
    found = (
        f"{_where(run)}: {run.shown(best['method'])} {_reaches(run, best, metric)}{_beside(run, best, others, metric)}."
    )
    if not deployable:
        found += " An oracle reads the gold answer: this is a ceiling, not a result."
    return found, _detail(run, best, others, metric)


def _where(run: StageRun) -> str:
    """Stage and model, with stand-ins named as such."""
    stage = f"Stage {run.search['stage']}" + f" ({run.search['stage_name']})" * bool(run.search.get("stage_name"))
    return stage + ", stand-in model" * run.stand_in


def _reaches(run: StageRun, row: Row, metric: str) -> str:
    count, rationales = len({p for m, p in run.answered if m == row["method"]}), known(row, "rationales")
    using = f" with {number(rationales)} rationale{'s' * (rationales != 1)}" if rationales else ""
    if metric != "accuracy":
        return f"reaches a {WORDS[metric]} of {row[metric]:.3f} on {count} questions{using}"
    return f"is right on {100 * row['accuracy']:.1f}\u00a0% of {count} questions{using}"


def _compared(run: StageRun, best: Row, others: list[Row], metric: str) -> list[Row]:
    """The methods that the best one is compared with: each vote and, if a vote is best, the best other method.

    If a method has several budgets, the one with the closest number of tokens.
    """
    if best["method"] not in BASELINES:
        methods = list(BASELINES)
    else:
        rest = [row for row in others if row["method"] not in BASELINES and row["method"] not in run.oracles]
        rest = [row for row in rest if (known(row, "rationales") or 2) > 1]
        top = max(rest, key=lambda row: row[metric], default=None)
        methods = [name for name in BASELINES if name != best["method"]] + ([top["method"]] if top else [])
    found = []
    for method in methods:
        rows = [row for row in others if row["method"] == method]
        if rows:
            found.append(min(rows, key=lambda row: abs(math.log(_token_ratio(row, best)))))
    return found


def _token_ratio(row: Row, other: Row) -> float:
    mine, theirs = known(row, "tokens") or 0.0, known(other, "tokens") or 0.0
    return mine / theirs if mine > 0 and theirs > 0 else 1.0


def _beside(run: StageRun, best: Row, others: list[Row], metric: str) -> str:
    """The other methods and their costs relative to the best; a common cost is stated once."""
    costs = [_cost(_token_ratio(row, best)) for row in others]
    alike = len(set(costs)) == 1
    parts = [
        _gap(best[metric] - row[metric], run.shown(row["method"]), metric) + ("" if alike else cost)
        for row, cost in zip(others, costs, strict=True)
    ]
    listed = f", {', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(f", {part}" for part in parts)
    return listed + (costs[0] if alike else "")


def _cost(ratio: float) -> str:
    return " at the same tokens" if 1 / SAME_TOKENS < ratio < SAME_TOKENS else f" at {ratio:.2g} times the tokens"


def _gap(gain: float, name: str, metric: str) -> str:
    side, unit = "above" if gain > 0 else "below", 100 if metric == "accuracy" else 1
    size = f"{unit * abs(gain):.1f} points" if unit == 100 else f"{abs(gain):.3f}"
    return f"{size} {side} {name}" if abs(gain) >= 5e-4 else f"equal to {name}"


def _detail(run: StageRun, best: Row, others: list[Row], metric: str) -> str:
    """Sentences about errors of the differences, the oracle's score, and the accuracy of the templates alone."""
    parts = []
    for row in others:
        gain = against(run, best["method"], row["method"]) if metric == "accuracy" else None
        if gain is not None and math.isfinite(gain.standard_error):
            doubt = "" if abs(gain.value) > 2 * gain.standard_error else " (not clearly different)"
            error = f"{100 * gain.standard_error:.1f}"
            parts.append(f"{signed(100 * gain.value, 1)} ± {error} points against {run.shown(row['method'])}{doubt}")
    said = [f"Paired over questions, standard errors clustered by source: {'; '.join(parts)}."] if parts else []
    oracles = [row for row in run.rows if row["method"] in run.oracles and known(row, metric) is not None]
    if oracles and best["method"] not in run.oracles:
        ceiling = max(oracles, key=lambda row: row[metric])
        said.append(f"Ceiling, which reads the gold answer: {run.shown(ceiling['method'])} {ceiling[metric]:.3f}.")
    if run.template_accuracy is not None:
        share = f"{100 * run.template_accuracy:.1f}\u00a0%"
        said.append(f"The template classifier inside the spectral reward is right on {share} alone.")
    return " ".join(said)


def stage_table(run: StageRun) -> str:
    """The summary as an HTML table with the best value of each column in bold; an oracle is never the best."""
    rows = [{**row, "vs_vote": _vs_vote(run, row)} for row in run.rows]
    have = [name for row in rows for name, value in row.items() if value is not None and name not in NOT_SHOWN]
    columns = [name for name in COLUMNS if name in have]
    columns += [name for name in dict.fromkeys(have) if name not in COLUMNS and not name.endswith("_se")]
    head = "".join(f'<th scope="col">{escape(COLUMNS.get(c, c.replace("_", " ")))}</th>' for c in ["method", *columns])
    honest = [row for row in rows if row["method"] not in run.oracles]
    best = {column: best_value(honest, column) for column in columns}
    body = "".join(_table_row(run, row, columns, best) for row in rows)
    table = f'<table class="summary"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def best_value(rows: list[dict[str, Any]], column: str) -> float | None:
    """The best value of a column; None without a better direction, or without two different entries."""
    values = [value for row in rows if (value := known(row, column)) is not None]
    if len(set(values)) < 2:
        return None
    return max(values) if column in HIGHER_IS_BETTER else min(values) if column in LOWER_IS_BETTER else None


def _vs_vote(run: StageRun, row: Row) -> Estimate | None:
    """Difference to the vote over enumerated answers; only for the row of a method that ``run.row`` returns."""
    if row is not run.row(row["method"]):
        return None
    return against(run, row["method"], "answer-vote")


def _table_row(run: StageRun, row: dict[str, Any], columns: list[str], best: Mapping[str, float | None]) -> str:
    method, is_oracle = str(row["method"]), row["method"] in run.oracles
    colour = method_colours(run.methods)[method]
    cells = [f'<th scope="row" style="color:{colour}">{escape(run.shown(method))}</th>']
    for column in columns:
        won = not is_oracle and best[column] is not None and known(row, column) == best[column]
        mark = ' class="best"' if won else ""
        cells.append(f"<td{mark}>{_entry(row, column)}</td>")
    kind = ' class="oracle"' if is_oracle else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _entry(row: Row, column: str) -> str:
    """A cell, with its standard error if there is one."""
    value, error = row.get(column), row.get(f"{column}_se")
    if isinstance(value, Estimate):
        return signed(value.value, 3) + f" ± {value.standard_error:.3f}" * math.isfinite(value.standard_error)
    if isinstance(value, str):
        return escape(value)
    figure = known(row, column)
    if figure is None:
        return "–"
    text = f"{figure:.{DECIMALS[column]}f}".replace("-", "−") if column in DECIMALS else number(figure)
    return text + (f" ± {error:.{DECIMALS.get(column, 3)}f}" if isinstance(error, float) else "")


def signed(value: float, decimals: int) -> str:
    """A number with its sign and a typographic minus."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def known(row: Row, column: str) -> float | None:
    """The number in a column of a row; None if it is not a number."""
    value = row.get(column)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable and value is not None else None
