"""The metrics as modules of ``evaluate``: loaded from a folder with no network, equal to the functions below them."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.metrics.evaluate_modules import METRICS, load_metric, metric_path
from sadt_ray.opentslm.metrics.evaluated import evaluated
from sadt_ray.opentslm.metrics.labels import cohens_kappa, macro_f1
from sadt_ray.opentslm.metrics.stages import score_stage
from sadt_ray.opentslm.metrics.text import corpus_bleu, rouge_scores
from sadt_ray.opentslm.stage_spec import STAGES, stage_spec
from sadt_ray.processes.language.prompt import Prompt


def test_every_module_loads_without_a_network_and_gives_the_functions_figures(tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate")

    def refuse(*_, **__):
        raise OSError("no network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path)
    truths, claims = ["a", "a", "b", "c"], ["a", "b", "b", ""]
    figures = [load_metric(name).compute(predictions=claims, references=truths) for name in METRICS]
    expected = [
        {"accuracy": 0.5},
        {"macro_f1": macro_f1(truths, ["a", "b", "b", None])},
        {"kappa": cohens_kappa(truths, ["a", "b", "b", None])},
        {"bleu": corpus_bleu(claims, truths)},
        {name: np.mean(values) for name, values in rouge_scores(claims, truths).items()},
    ]
    assert figures == expected
    assert any(tmp_path.iterdir())


def test_a_stage_has_the_same_figures_through_evaluate(tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate")
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path)
    labels = ["walking", "walking", "running", "sitting"]
    prompt = Prompt("", answers=STAGES[3].labels)
    problems = [
        Problem(str(i), np.zeros(1), prompt, extras={"label": label, "answer": f"It goes. Answer: {label}"})
        for i, label in enumerate(labels)
    ]
    texts = ["Answer: walking", "Answer: running", "Answer: running.", "no answer"]
    for stage in (2, 3, 5):
        figures, scores = evaluated(stage, texts, problems), score_stage(stage, texts, problems)
        assert figures == pytest.approx({name: scores[name] for name in figures})
        assert stage_spec(stage).metric in figures


def test_a_module_is_a_folder_with_a_file_of_its_name():
    for name in METRICS:
        assert (metric_path(name) / f"{name}.py").is_file()
    with pytest.raises(ValueError, match="choose one of accuracy"):
        metric_path("f1")


def test_where_evaluate_is_missing_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        load_metric("bleu")


def test_scoring_a_stage_does_not_import_evaluate():
    code = (
        "import sys, sadt_ray.opentslm.metrics.stages; sys.exit('evaluate' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
