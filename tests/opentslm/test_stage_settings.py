"""Settings of a stage are checked before anything is loaded."""

import pytest

from sadt_ray.opentslm import StageSettings
from sadt_ray.opentslm.methods import STAGE_METHODS, stage_methods


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stage": "7"}, "there is no stage '7'"),
        ({"method": ("magic",)}, "there is no stage method 'magic'; choose from greedy"),
        ({"method": ()}, "there is no stage method ''"),
        ({"n_rollouts": 0}, "n_rollouts must be at least 1, got 0"),
        ({"num_examples": 0}, "num_examples must be at least 1"),
        ({"inv_temperature": 0.0}, "the inverse temperature must be a positive number, got 0.0"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        StageSettings(**{"stage": "3", **settings})


def test_settings_are_recorded_with_the_number_and_the_name_of_the_stage():
    recorded = StageSettings(stage="har", seed=3).as_recorded()
    assert (recorded["stage"], recorded["stage_name"], recorded["seed"]) == (3, "har", 3)


def test_methods_are_built_under_their_names_with_their_own_number_of_rationales():
    methods = {name: method.search_method(16, seed=1) for name, method in STAGE_METHODS.items()}
    assert all(method.name == name for name, method in methods.items())
    assert methods["greedy"].search.n_rollouts == methods["sample"].search.n_rollouts == 1
    assert methods["answer-vote"].search.n_rollouts == 16
    assert [method.name for method in stage_methods(["dts", "greedy", "dts"])] == ["dts", "greedy"]
