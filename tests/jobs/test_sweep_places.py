"""Where the runs of a sweep go on after a death at any moment, and how they come to the sweep's directory."""

import json

import pytest

from jobs.sweeps.places import Places
from jobs.sweeps.trial import last_shown, run_trial

NAME = "synthetic-snis-n30-seed0"


@pytest.fixture(params=["directory", "address"])
def places(request, tmp_path):
    """Storage that is not the sweep's directory."""
    return Places(str(tmp_path / "far") if request.param == "directory" else (tmp_path / "far").as_uri())


def make_run(run, complete=True, **files):
    run.mkdir(parents=True)
    summary = {"rows": [{"method": "snis", "nfe": 8.0}], "complete": complete, "notes": []}
    metrics = {"method": "snis", "nfe": 80, "mean_reward": "-inf", "best_reward": 0.5}
    for name, text in {"summary.json": json.dumps(summary), "metrics.jsonl": json.dumps(metrics), **files}.items():
        (run / name).write_text(text)


@pytest.mark.parametrize("left", ["config.json.writing", "config.json"])
def test_a_run_whose_process_died_while_it_began_is_begun_again(tmp_path, left):
    places = Places(str(tmp_path))
    run = places.run_directory(NAME)
    run.mkdir(parents=True)
    (run / left).write_text("{")
    assert places.arguments(NAME, run) == ["--out", str(run)]
    assert not run.exists()


def test_a_run_that_has_begun_goes_on(tmp_path):
    places = Places(str(tmp_path))
    run = places.run_directory(NAME)
    make_run(run, complete=False, **{"config.json": "{}", "problems.parquet": ""})
    assert places.arguments(NAME, run) == ["--resume", str(run)]
    assert (run / "problems.parquet").exists()


def test_a_run_is_brought_to_the_directory_of_the_sweep_whole_and_once(places, tmp_path):
    make_run(tmp_path / "far" / "runs" / NAME)
    to = tmp_path / "sweep" / "runs" / NAME
    to.with_name(f"{NAME}.writing").mkdir(parents=True)  # of a program that was killed while it did so
    places.fetch(NAME, to)
    assert json.loads((to / "summary.json").read_text())["complete"]
    assert [path.name for path in to.parent.iterdir()] == [NAME]
    (to / "summary.json").write_text("{}")
    places.fetch(NAME, to)
    assert (to / "summary.json").read_text() == "{}"
    places.fetch("another", tmp_path / "sweep" / "runs" / "another")
    assert not (tmp_path / "sweep" / "runs" / "another").exists()


def test_a_run_that_ended_is_kept_in_place_of_the_part_of_it_that_was_stopped(tmp_path):
    places = Places((tmp_path / "far").as_uri())
    make_run(tmp_path / "far" / "runs" / NAME, complete=False, part="of a trajectory")
    make_run(tmp_path / "here" / NAME)
    places.keep(NAME, tmp_path / "here" / NAME)
    for kept in (tmp_path / "far" / "runs" / NAME, tmp_path / "here" / NAME):
        assert {path.name for path in kept.iterdir()} == {"summary.json", "metrics.jsonl"}
        assert json.loads((kept / "summary.json").read_text())["complete"]


def test_a_complete_run_is_not_searched_again_and_shows_what_schedulers_compare(places, tmp_path):
    places.open(None)
    make_run(tmp_path / "far" / "runs" / NAME)
    config = {"trial": {"name": NAME, "arguments": ["--nonsense"]}, "execution": [], "storage": places.storage}
    figures = run_trial({**config, "directory": "/nowhere"}, None)
    assert (figures["evaluations"], figures["nfe"]) == (80, 8)
    assert figures["mean_reward"] == float("-inf")
    assert "method" not in last_shown(tmp_path / "far" / "runs" / NAME)


def test_a_node_that_does_not_see_the_storage_says_so(places):
    with pytest.raises(ValueError, match="does not see the sweep's storage"):
        places.check()
