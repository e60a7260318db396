"""Newer weights on their way from a teacher into a search: to whoever rolls out, and to the nodes that are there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sadt_ray.executor import Executor, NodeStates, UsesFlow
from sadt_ray.teacher import Teacher
from sadt_ray.tree.search import Search


class Lessons:
    """Called between two batches.

    Nodes are looked at again when their flow is read by selection (``SearchConfig.alpha``); results of batches that
    were in flight bring what the weights before said, until the next version.

    Args:
        teacher: whom to ask.
        executor: of the search.
        wanted: whether its rollouts are guided by a flow; else figures are all that is asked for.

    Raises:
        ValueError: for an executor that cannot be given weights.
    """

    def __init__(self, teacher: Teacher, executor: Executor, wanted: bool) -> None:
        if wanted and not isinstance(executor, UsesFlow):
            raise ValueError(f"{type(executor).__name__} cannot be given newer weights while it runs")
        self._teacher, self._executor, self._wanted = teacher, executor, wanted

    def attend(self, search: Search) -> None:
        """Use what is new."""
        flow, executor = self._teacher.news(), self._executor
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
        """Of the executor and of the teacher."""
        return {**self._executor.gauges(), **self._teacher.figures()}


def inner_nodes(search: Search) -> NodeStates:
    """All nodes between root and x_0, as they are now."""
    level = search.tree.column("level")
    nodes = np.flatnonzero((level > 0) & (level < search.num_levels))
    return NodeStates(nodes, search.states.values[nodes], level[nodes], search.problem_of_nodes()[nodes])
