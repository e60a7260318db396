"""A verifier of a stage, trained and used from Python."""

import pytest
from tiny_stage import windows, write_csv

from sadt_ray.opentslm import StageSettings, answer_questions
from sadt_ray.opentslm.rewards.verifier_file import VERIFIER, load_verifier
from sadt_ray.opentslm.train_verifier import train_stage_verifier


def test_a_verifier_trained_on_labelled_questions_is_a_reward_for_others(stand_in, tmp_path):
    window_file = write_csv(tmp_path / "windows.csv", windows(48, subjects=12))
    shared = {"stage": "3", "checkpoint": str(stand_in), "data_file": window_file, "n_rollouts": 2, "max_tokens": 24}
    told = []
    verifier = train_stage_verifier(StageSettings(**shared, split="train"), tmp_path, folds=2, tell=told.append)
    assert verifier.facts["rationales"] == 2
    assert told[-1].startswith("Drawing 2 rationales for each of")
    assert load_verifier(tmp_path / VERIFIER).facts == verifier.facts
    settings = {**shared, "split": "test", "num_examples": 2, "method": ("sadt",), "verifier": tmp_path}
    answers = answer_questions(StageSettings(**settings, reward="verifier + -1*agreement"))
    assert len(answers) == 2
    with pytest.raises(ValueError, match="does not name it"):
        answer_questions(StageSettings(**settings, reward="format"))
