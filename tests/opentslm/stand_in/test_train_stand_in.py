"""Stand-ins are judged on questions that they have not seen."""

import json

from sadt_ray.opentslm.stand_in.train import train_and_judge_stand_in


def test_captions_are_judged_by_what_they_share_with_the_written_ones(tmp_path):
    made = train_and_judge_stand_in("2", tmp_path / "x", questions=2, draws=1, max_steps=1)
    assert made.directory == tmp_path / "x"
    scores = json.loads((tmp_path / "x" / "stand_in.json").read_text())["scores"]["held_out"]
    assert scores == made.scores["held_out"]
    assert 0 <= scores["rouge_l_greedy"] <= 1
    assert scores["loss"] > 0
