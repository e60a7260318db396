"""The directory of a small stage run: made up, but searched and written by what searches and writes real ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Problem, Results, Tickets
from sadt_ray.opentslm.tree_texts import write_tree_texts
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.runs.answer_file import Answered, is_correct, write_answers
from sadt_ray.runs.directory import append_metrics, write_json, write_tree
from sadt_ray.tree.search import Search

METHODS = ("greedy", "self-consistency", "answer-vote", "dts")
LABELS = ("walking", "sitting", "</script><b>run</b>")
ACCURACY = {"greedy": 0.5, "self-consistency": 0.6, "answer-vote": 0.7, "dts": 0.8}
EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"
SENTENCES = ("The energy is low.", f" It is periodic: {EVIL}", " It is smooth & still.", " Answer:")
LEVELS, QUESTIONS, TREES = 3, 12, 2
TEMPLATES = np.exp(-np.arange(17) / np.array([[3.0], [5.0], [9.0]]))


def made_up_problems(rng: np.random.Generator) -> list[Problem]:
    """Windows of three axes from four subjects."""
    problems = []
    for number in range(QUESTIONS):
        label = LABELS[number % len(LABELS)]
        series = rng.normal(size=(128, 3)).cumsum(0)
        prompt = Prompt("What is it?", ("x-axis", "y-axis", f"z {EVIL}"), tuple(series.T), "Think.", LABELS)
        extras = {"label": label, "answer": f"Because. Answer: {label}", "source": f"subject {number % 4}"}
        problems.append(Problem(f"har/<{number:02d}>", series, prompt, extras=extras))
    return problems


def question_line(problem: Problem) -> dict[str, Any]:
    prompt, series = problem.conditioning, np.asarray(problem.context).T
    return {
        "problem": problem.name,
        **{name: problem.extras[name] for name in ("source", "label", "answer")},
        "series": series.tolist(),
        "sampling_rate": 50.0,
        "series_names": list(prompt.texts),
        "question": prompt.pre + EVIL + prompt.post,
        "answers": list(prompt.answers),
        "frequencies": np.linspace(0, 0.5, 17).tolist(),
        "spectrum": TEMPLATES[1].tolist(),
        "template_spectra": dict(zip(LABELS[:2], TEMPLATES.tolist(), strict=False)),  # the third has none
    }


def text_of(state: np.ndarray) -> str:
    return "".join(SENTENCES[token] for token in state if token >= 0)


def grown_search(problems: list[Problem], simulations: int, rng: np.random.Generator) -> Search:
    """Trees of sentences whose leaves stop at the marker: only their samples say the answers."""
    config = SearchConfig(n_rollouts=simulations, widen_c=1.0, widen_alpha=0.7)
    roots = np.full((len(problems), LEVELS), -1, np.int32)
    search = Search(config, [problem.name for problem in problems], roots, LEVELS)
    while search.wanting().any():
        tickets = search.ask(16)
        search.tell(told(tickets, rng))
    return search


def told(tickets: Tickets, rng: np.random.Generator) -> Results:
    """Every ticket goes on at random; each answer has a share of its leaf."""
    states, levels = [], []
    for state, level in zip(tickets.state, tickets.level, strict=True):
        for below in range(level + 1, LEVELS + 1):
            state = state.copy()
            state[below - 1] = len(SENTENCES) - 1 if below == LEVELS else rng.integers(len(SENTENCES) - 1)
            states.append(state)
            levels.append(below)
    counts = LEVELS - tickets.level
    ends = np.cumsum(counts)
    shares = rng.dirichlet(np.ones(len(LABELS)), len(tickets))
    samples = [f"{text_of(states[end - 1])} {label}" for end in ends for label in LABELS]
    return Results(
        id=tickets.id,
        value=rng.normal(size=len(tickets)),
        path_splits=np.concatenate([[0], ends]),
        path_level=np.array(levels),
        path_state=np.array(states, np.int32),
        path_log_flow=np.zeros(len(states)),
        sample_splits=np.arange(len(tickets) + 1) * len(LABELS),
        samples=np.array(samples, np.str_),
        rewards=np.zeros(len(samples)),
        sample_log_weight=np.log(shares).ravel(),
        nfe=counts,
        reward_calls=np.ones(len(tickets), np.int64),
    )


def made_up_answers(problems: list[Problem], rng: np.random.Generator) -> list[Answered]:
    """Each method is right on as many as ``ACCURACY`` says, of the first questions."""
    rows = []
    for method in METHODS:
        for number, problem in enumerate(problems):
            gold = LABELS.index(problem.extras["label"])
            right = number < round(ACCURACY[method] * len(problems))
            said = gold if right else (gold + 1) % len(LABELS)
            p = 0.9 * rng.dirichlet(np.ones(len(LABELS)))
            p[[said, int(p.argmax())]] = p[[int(p.argmax()), said]]
            text, cost = f"{method} says so.{EVIL} Answer: {LABELS[said]}", (4, 1_000, 4)
            probabilities = dict(zip(LABELS, p.tolist(), strict=True))
            who, gold_label = (method, problem.name, problem.extras["source"]), problem.extras["label"]
            rows.append(Answered(*who, LABELS[said], probabilities, text, gold_label, -math.inf, 3.2, *cost))
    return rows


def summary_rows(answers: list[Answered], oracles: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for method in METHODS:
        right = np.mean([bool(is_correct(row)) for row in answers if row.method == method])
        rationales = 1 if method == "greedy" else 4
        rows.append(
            {"method": method, "rationales": rationales, "tokens": 250.0 * rationales, "reward_calls": 4}
            | {
                "seconds_per_example": 0.5,
                "accuracy": float(right),
                "accuracy_se": 0.05,
                "macro_f1": float(right) - 0.1,
            }
            | {"kappa": None, "rouge_l": None, "ece": 0.11, "unparsable": 0.0, "oracle": method in oracles}
        )
    return rows


def write_stage_run(directory: Path, simulations: int = 60, oracles: tuple[str, ...] = (), **config: Any) -> Path:
    """Write every file of the contract."""
    rng = np.random.default_rng(7)
    directory.mkdir(parents=True)
    problems = made_up_problems(rng)
    answers = made_up_answers(problems, rng)
    search = {
        "stage": 3,
        "stage_name": "har",
        "checkpoint": None,
        "method": METHODS,
        "n_rollouts": 4,
        "reward": "format",
    }
    described = {"search": search, "environment": {"cores": 2}, "command": "python -m jobs.search --stage 3 <x>"}
    write_json(directory / "config.json", described | {"oracle": bool(oracles), "stand_in": True} | config)
    bins = [{"confidence": 0.3 * k, "accuracy": 0.25 * k, "count": k} for k in range(4)]
    profile = [{"depth": depth, "entropy": 1.0 - 0.1 * depth**2, "tokens": 30 * depth} for depth in range(4)]
    summary = {
        "rows": summary_rows(answers, oracles),
        "notes": ["Made <up>."],
        "calibration": dict.fromkeys(METHODS[1:], bins),
        "entropy_profile": profile,
        "template_accuracy": 0.53,
        "complete": True,
    }
    write_json(directory / "summary.json", summary)
    lines = [json.dumps(question_line(problem)) + "\n" for problem in problems]
    (directory / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    write_answers(directory, answers)
    grown = grown_search(problems, simulations, rng)
    write_tree(directory, "dts", grown)
    node = np.flatnonzero(grown.problem_of_nodes() < TREES)
    write_tree_texts(directory, "dts", grown, problems, node, [text_of(state) for state in grown.states.values[node]])
    for second in range(1, 5):
        append_metrics(directory, {"method": "dts", "seconds": second, "nfe": 100 * second, "nfe_per_second": 100.0})
    return directory
