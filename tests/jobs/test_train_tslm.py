"""``python -m jobs.train tslm`` with tiny numbers."""

import io
import json

import pytest
from rich.console import Console

from jobs.train_tslm import TrainTslmConfig, train_tslm


def test_the_job_writes_a_stand_in_and_says_what_it_is(tmp_path):
    said = io.StringIO()
    config = TrainTslmConfig("early-claims", out=tmp_path / "x", questions=2, draws=1, max_steps=1)
    out = train_tslm(config, Console(file=said, width=200))
    assert {"model_checkpoint.pt", "base", "stand_in.json"} <= {path.name for path in out.iterdir()}
    record = json.loads((out / "stand_in.json").read_text())
    assert record["scores"]["held_out"]["questions"] == 2
    assert "These are not OpenTSLM's weights" in said.getvalue()


def test_a_stage_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="choose one of 1"):
        train_tslm(TrainTslmConfig("7", out=tmp_path), Console(file=io.StringIO()))
