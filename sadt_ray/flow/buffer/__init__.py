"""The trajectories that a learner reads. The files of running searches are followed while they grow.

``following`` reads one directory, ``buffer`` holds the rows of all directories, ``nodes`` is the view of these rows as
a forest.
"""

from sadt_ray.flow.buffer.buffer import TrajectoryBuffer
from sadt_ray.flow.buffer.nodes import MISSING, ROOT, Nodes

__all__ = ["MISSING", "ROOT", "Nodes", "TrajectoryBuffer"]
