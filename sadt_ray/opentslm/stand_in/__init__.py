"""Stand-ins for OpenTSLM: tiny models in its published format, trained in minutes on real and generated series."""

from sadt_ray.opentslm.stand_in.early_claims import ClaimsReward, early_claims_problems
from sadt_ray.opentslm.stand_in.library import (
    EARLY_CLAIMS,
    find_or_train_stand_in,
    find_stand_in,
    held_out_problems,
    train_stand_in,
    training_problems,
)

__all__ = [
    "EARLY_CLAIMS",
    "ClaimsReward",
    "early_claims_problems",
    "find_or_train_stand_in",
    "find_stand_in",
    "held_out_problems",
    "train_stand_in",
    "training_problems",
]
