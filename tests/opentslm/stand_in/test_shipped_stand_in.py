"""The stand-in that ships with the package."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sadt_ray.opentslm.data.places import find_data
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.stand_in import library
from sadt_ray.opentslm.stand_in.judge import answer_in, written
from sadt_ray.opentslm.stand_in.library import RECORD, SHIPPED, find_or_train_stand_in, held_out_problems

FOLDER = SHIPPED / "stand-in-har"


def test_it_is_small_has_no_optimizer_state_and_says_what_it_is():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 7e6
    assert not {"optimizer_state", "scheduler_state"} & set(
        torch.load(FOLDER / "model_checkpoint.pt", weights_only=True)
    )
    assert "not OpenTSLM's weights" in json.loads((FOLDER / RECORD).read_text())["what"]
    assert find_or_train_stand_in("har", 0) == FOLDER


def test_processes_that_need_the_same_stand_in_train_it_once(tmp_path, monkeypatch):
    trained = []

    def slowly(stage, seed, out, report=None):
        trained.append(out)
        time.sleep(0.2)
        out.mkdir()
        (out / "model_checkpoint.pt").touch()
        return out

    monkeypatch.setattr(library, "train_stand_in", slowly)
    monkeypatch.setattr(library, "_cached", lambda name, seed: tmp_path / "made" / f"{name}-{seed}")
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: find_or_train_stand_in("har", 7), range(3)))
    assert trained == list(found) == [tmp_path / "made" / "har-7"]


@pytest.mark.skipif(find_data("har/har_windows_50hz.csv") is None, reason="no data collection here")
def test_it_answers_windows_it_has_not_seen_better_than_by_chance():
    model, problems = load_opentslm(FOLDER), held_out_problems("har", 0, 24)
    texts, _ = written(model, problems, 1, max_tokens=80, greedy=True)
    answers = [answer_in(some[0], problem) for some, problem in zip(texts, problems, strict=True)]
    assert None not in answers
    assert np.mean([a == p.extras["label"] for a, p in zip(answers, problems, strict=True)]) > 0.5
