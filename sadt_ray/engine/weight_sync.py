"""Newer weights on their way from a weight source into a search: to the rollouts, and to the nodes of the tree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sadt_ray.engine.executor import Executor, NodeStates, UsesFlow
from sadt_ray.engine.loop import SearchStats
from sadt_ray.flow.weight_source import WeightSource
from sadt_ray.tree.search import Search


class WeightSync:
    """An observer that gives the executor every newer version of the flow.

    The log flow of nodes is computed anew when selection reads it (``SearchConfig.alpha`` > 0). Results of batches that
    were in flight bring what the weights before said, until the next version.

    Args:
        source: where newer weights come from.
        executor: of the search.
        wanted: whether its rollouts are guided by a flow; else only the source's figures are used.

    Raises:
        ValueError: for an executor that cannot be given weights.
    """

    def __init__(self, source: WeightSource, executor: Executor, wanted: bool) -> None:
        if wanted and not isinstance(executor, UsesFlow):
            raise ValueError(f"{type(executor).__name__} cannot be given newer weights while it runs")
        self._source, self._executor, self._wanted = source, executor, wanted

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Use newer weights, if there are any."""
        flow, executor = self._source.newer_weights(), self._executor
        if not self._wanted or not isinstance(executor, UsesFlow):
            return
        if flow is not None:
            executor.use_flow(flow)
            if search.config.alpha > 0:
                executor.look_at(inner_nodes(search))
        for looked in executor.looked_at():
            search.refresh_log_flow(looked.node, looked.log_flow)
            search.nfe += looked.nfe * np.bincount(looked.problem, minlength=len(search.nfe))

    def gauges(self) -> Mapping[str, float]:
        """The figures of the weight source."""
        return self._source.figures()


def inner_nodes(search: Search) -> NodeStates:
    """All nodes between root and x_0, as they are now."""
    level = search.tree.column("level")
    nodes = np.flatnonzero((level > 0) & (level < search.num_levels))
    return NodeStates(nodes, search.states.values[nodes], level[nodes], search.problem_of_nodes()[nodes])
