"""Stop a problem before its budget is spent, once its samples or its log Z are good enough.

The rules are read when the problems that go on have a tenth more simulations than at the last reading, so that all
readings together cost a constant a simulation, and once more when nothing is in flight and nothing would be asked: what
came in late may have undone what had been met.

A stop that depends on the estimates biases them, since a large weight that has yet to be found makes both rules look
better than they are. Measured with independent samples of an enumerable chain, rewards of spread 1 and 2 nats: with
``until_se`` .3, log Z is low by .10 and .23 (spread .36 and .63) and Z by 3 and 7 %; with .1, or with ``until_ess`` 40,
both by 1 % at most.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from sadt_ray.config import SearchConfig
from sadt_ray.tree import draw
from sadt_ray.tree.errors import log_mean_se
from sadt_ray.tree.samples import SampleStore
from sadt_ray.tree.tree import Tree

_GROWTH = 1.1  # of simulations from one reading to the next
_MIN_CHILDREN = 8  # of a root, before its estimates are believed


class StoppingRules:
    """``until_ess`` and ``until_se`` of a configuration, for a forest of ``num_problems``.

    Attributes:
        done: problems that had met one of the rules when they were read last.
    """

    def __init__(self, config: SearchConfig, num_problems: int) -> None:
        self._lam, self._until_ess, self._until_se = config.inv_temperature, config.until_ess, config.until_se
        self.done: Bool[np.ndarray, " P"] = np.zeros(num_problems, bool)
        self._read_at: Int[np.ndarray, " P"] = np.zeros(num_problems, np.int64)  # simulations at the last reading

    def due(self, told: Int[np.ndarray, " P"]) -> bool:
        """Whether to read them again, with so many simulations of each problem."""
        if not self.outdated(told):
            return False
        going_on = ~self.done
        return bool(told[going_on].sum() >= max(_GROWTH * self._read_at[going_on].sum(), 1))

    def outdated(self, told: Int[np.ndarray, " P"]) -> bool:
        """Whether there are rules, and simulations that they have not seen."""
        return (self._until_ess is not None or self._until_se is not None) and not np.array_equal(told, self._read_at)

    def read(self, tree: Tree, samples: SampleStore, told: Int[np.ndarray, " P"]) -> None:
        """Decide anew which problems are done. Takes a pass over the forest for ``until_ess``, over roots' children
        for ``until_se``."""
        met = np.zeros(tree.num_roots, bool)
        if self._until_se is not None:
            met |= np.array([self._log_z_se(tree, root) <= self._until_se for root in range(tree.num_roots)])
        if self._until_ess is not None:
            log_probability = draw.softmax_log_weights(tree, self._lam)
            met |= samples.effective_sizes(tree.num_roots, log_probability) >= self._until_ess
        self.done[:] = met & (tree.column("num_children")[: tree.num_roots] >= _MIN_CHILDREN)
        self._read_at[:] = told

    def _log_z_se(self, tree: Tree, root: int) -> float:
        return log_mean_se(self._lam * tree.columns.value[tree.children(root)])

    def arrays(self) -> dict[str, np.ndarray]:
        """All that changes, by name."""
        return {"done": self.done, "read_at": self._read_at}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``arrays`` returned; a state from before there were rules has none."""
        for name, array in self.arrays().items():
            array[:] = arrays.get(name, array)
