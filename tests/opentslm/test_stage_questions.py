"""Which questions a stage asks."""

import json

import numpy as np
import pytest

from sadt_ray.opentslm.questions import choose_questions, spread
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.setup import set_up_stage
from sadt_ray.opentslm.stand_in.library import held_out_problems, stand_in_record


def test_a_stand_in_is_asked_what_it_has_not_seen_whatever_the_seed_of_the_search(tmp_path):
    made = {seed: tmp_path / f"seed{seed}" for seed in (0, 1)}
    for seed, directory in made.items():
        directory.mkdir()
        (directory / "model_checkpoint.pt").touch()
        (directory / "stand_in.json").write_text(json.dumps({"stage": "1", "seed": seed}))
    settings = StageSettings(stage="1", seed=0, num_examples=4)
    held_out = {seed: held_out_problems(1, seed, 4) for seed in (0, 1)}
    for seed, directory in made.items():
        for checkpoint in (directory, directory / "model_checkpoint.pt"):  # the file is as good as its directory
            asked = choose_questions(settings, stand_in_record(checkpoint)).asked
            assert [problem.conditioning.pre for problem in asked] == [p.conditioning.pre for p in held_out[seed]]
            np.testing.assert_array_equal(asked[0].context, held_out[seed][0].context)
    assert not np.array_equal(held_out[0][0].context, held_out[1][0].context)
    with pytest.raises(ValueError, match="was made for tsqa, not for stage 3"):
        set_up_stage(StageSettings(stage="3", checkpoint=str(made[0])))


def test_all_of_a_file_is_asked_unless_a_split_or_a_number_is_given(window_file):
    asked = {
        (split, count): len(
            choose_questions(
                StageSettings(stage="3", data_file=window_file, split=split, num_examples=count), None
            ).asked
        )
        for split in (None, "test")
        for count in (None, 3)
    }
    assert asked[None, None] == 24
    assert 0 < asked["test", None] < 24
    assert asked[None, 3] == asked["test", 3] == 3


def test_all_of_a_stages_own_data_is_refused():
    with pytest.raises(ValueError, match="--split all needs a --data-file"):
        choose_questions(StageSettings(stage="1", split="all"), None)


def test_questions_are_spread_evenly():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(3), None) == spread(range(3), 9) == [0, 1, 2]
    with pytest.raises(ValueError, match="no questions"):
        spread([], 2)
