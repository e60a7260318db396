"""What a sweep's files say while Tune is at it, of trials that it has made and of those that it has not."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("ray.tune")
from actors.ledger import Ledger
from actors.tuning_config import WAITING

NAMES = ("first", "second", "third")


def trial(name, status, failures=0, result=None, errors=None):
    def get_error():
        return errors.pop() if errors else None

    config = {"trial": {"name": name}}
    return SimpleNamespace(
        config=config, status=status, num_failures=failures, last_result=result or {}, get_error=get_error
    )


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr("actors.ledger.ray.nodes", list)
    rows = [{"name": name, **WAITING} for name in NAMES]
    (tmp_path / "trials.json").write_text(json.dumps({"trials": rows, "seconds": 0.0}))
    return tmp_path


def written(directory, *trials):
    ledger = Ledger(directory)
    ledger.setup()
    ledger.on_experiment_end(list(trials))
    return json.loads((directory / "trials.json").read_text())


def test_trials_that_tune_has_not_made_yet_are_listed_however_often_the_sweep_is_resumed(directory):
    for _ in range(2):
        content = written(directory, trial("second", "TERMINATED", result={"complete": True, "time_total_s": 2.0}))
        assert [row["name"] for row in content["trials"]] == list(NAMES)
        assert [row["status"] for row in content["trials"]] == ["pending", "complete", "pending"]
        assert not content["complete"]


def test_attempts_are_those_that_were_made(directory):
    made = (trial("first", "RUNNING", 1), trial("second", "ERROR", 3, errors=["no"]), trial("third", "TERMINATED"))
    assert [row["attempts"] for row in written(directory, *made)["trials"]] == [2, 3, 0]  # the third was interrupted


def test_why_a_trial_failed_is_looked_up_once(directory):
    ledger, failed = Ledger(directory), trial("first", "ERROR", 1, errors=["Failure # 1\nit broke\n"])
    ledger.setup()
    for _ in range(2):
        ledger.on_experiment_end([failed])
        row = json.loads((directory / "trials.json").read_text())["trials"][0]
        assert (row["status"], row["error"]) == ("failed", "it broke")
