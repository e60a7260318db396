"""Contests of methods on stages."""

import numpy as np
from tiny_stage import window_problems

from benchmarks.stage_contests.contest import tabled
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import TemplateConfig, fit_label_templates


def test_a_table_of_answers_is_the_reward_it_was_made_of():
    problems = window_problems(6)
    spectral = SpectralLabelReward(fit_label_templates(problems, TemplateConfig(channels="pooled")))
    table = tabled(spectral, problems).bind(problems)
    for p in range(len(problems)):
        np.testing.assert_allclose(table.of_answers(p), spectral.bind(problems).of_answers(p))
