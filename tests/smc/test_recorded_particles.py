"""Some of the tickets are harvested, in families; the others do not notice."""

import numpy as np
import pytest
from smc_worlds import PROBLEMS, ChainWorld, sampler, tickets_at

from sadt_ray.smc.config import SMCConfig

CHAIN = ChainWorld()
WHOLE = CHAIN.whole.bind(PROBLEMS)
SHARED = {"particles": 8, "record_particles": True, "record_resampling": "siblings-4", "record_share": 0.3}


def test_a_share_of_the_tickets_is_harvested_and_the_others_are_swept_as_if_nothing_was():
    tickets = tickets_at(WHOLE, 0, 400)
    twist = CHAIN.twist("noise")
    some = sampler(CHAIN.whole, CHAIN.scorer, twist, CHAIN.lam, **SHARED)(tickets)
    none = sampler(CHAIN.whole, CHAIN.scorer, twist, CHAIN.lam, particles=8)(tickets)
    harvested = np.isin(tickets.id, some.id[np.unique(some.particle_record.ticket)])
    assert 0.2 < harvested.mean() < 0.4
    value = dict(zip(some.id.tolist(), some.value, strict=True))
    np.testing.assert_array_equal([value[ticket] for ticket in none.id[~harvested]], none.value[~harvested])
    assert sorted(value) == tickets.id.tolist()


def test_harvested_families_hang_together_whatever_else_is_in_the_batch():
    results = sampler(CHAIN.whole, CHAIN.scorer, CHAIN.twist("noise"), CHAIN.lam, **SHARED)(tickets_at(WHOLE, 0, 50))
    harvest = results.particle_record
    inner = np.flatnonzero(harvest.parent >= 0)
    parents = harvest.parent[inner]
    np.testing.assert_array_equal(harvest.ticket[parents], harvest.ticket[inner])
    np.testing.assert_array_equal(harvest.level[parents] + 1, harvest.level[inner])
    _, counts = np.unique(parents, return_counts=True)
    assert set(counts) <= {4, 8}  # a parent may be drawn twice


@pytest.mark.parametrize(
    ("field", "value"), [("record_share", 0.0), ("record_share", 1.5), ("record_resampling", "siblings-3")]
)
def test_a_harvest_that_cannot_be_is_refused(field, value):
    with pytest.raises(ValueError, match=r"record_share|siblings-3"):
        SMCConfig(**{"particles": 8, "record_particles": True, field: value})
