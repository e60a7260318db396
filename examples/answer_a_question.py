"""A question about a series, in words: the stand-in for OpenTSLM that ships is asked what somebody is doing.

What is learned: a language model is a prior like any other. Every text ends in *all* answers with their probabilities
(they are listed, not drawn), so that a few texts give a distribution over answers. The windows are made up.
The stand-in is a toy of a million parameters; what it answers says nothing about OpenTSLM.

    pip install 'sadt-ray[hf]' && python examples/answer_a_question.py
"""

import numpy as np

from sadt_ray import method_named, sample
from sadt_ray.opentslm.answers import answered
from sadt_ray.opentslm.data.normalise import normalised_har_by_window
from sadt_ray.opentslm.data.problems import stage_problem
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.rewards.build import build_stage_reward
from sadt_ray.opentslm.stand_in.library import SHIPPED
from sadt_ray.processes.language.process import CausalLMProcess

RNG = np.random.default_rng(0)
SECONDS = np.arange(128) / 50


def window(name, cadence, strength, noise):
    """Three axes of an accelerometer at 50 Hz, in g."""
    step = strength * np.array([np.sin(2 * np.pi * cadence * SECONDS + phase) ** 3 for phase in (0.0, 1.0, 2.0)])
    axes = step + noise * RNG.standard_normal((3, 128))
    row = {f"{axis}_axis": values for axis, values in zip("xyz", axes, strict=True)}
    return stage_problem("har", row, name, normalise=normalised_har_by_window)


def main():
    problems = [window("somebody in motion", 2.6, 1.0, 0.1), window("telephone on a table", 0.0, 0.0, 0.01)]
    process = CausalLMProcess(load_opentslm(SHIPPED / "stand-in-har"), max_tokens=80)
    method = method_named("sadt", n_rollouts=4, split_factor=1, num_candidates=1, inv_temperature=1.0)  # four texts
    found = sample(process, problems, build_stage_reward("format", "har"), method)
    for problem, drawn in zip(problems, found, strict=True):
        told = answered("sadt", problem, drawn, rollouts=4, tokens=0, reward_calls=0)
        print(f"{problem.name}: {told.answer} ({told.probabilities[told.answer]:.0%})\n  {told.text}")


if __name__ == "__main__":
    main()
