"""Data of the five stages: upstream's formats, upstream's prompts to the character, and splits by source."""

from sadt_ray.opentslm.data.load import StageSet, load_stage
from sadt_ray.opentslm.data.normalise import normalised_har_by_window
from sadt_ray.opentslm.data.problems import stage_problem
from sadt_ray.opentslm.data.splits import split_by_source
from sadt_ray.opentslm.stage_spec import STAGES, StageSpec, stage_spec

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
