"""The five stages of OpenTSLM: data in upstream's formats, its prompts to the character, and splits by source."""

from sadt_ray.data.stages.load import StageSet, load_stage
from sadt_ray.data.stages.normalise import normalised_har_by_window
from sadt_ray.data.stages.problems import stage_problem
from sadt_ray.data.stages.splits import split_by_source
from sadt_ray.stage_spec import STAGES, StageSpec, stage_spec

__all__ = [
    "STAGES",
    "StageSet",
    "StageSpec",
    "load_stage",
    "normalised_har_by_window",
    "split_by_source",
    "stage_problem",
    "stage_spec",
]
