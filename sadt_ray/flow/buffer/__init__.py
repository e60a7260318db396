"""The trajectories that a learner sees: what searches write, followed while it grows.

``buffer`` holds what is read, ``following`` reads a directory, ``nodes`` is the view with siblings and paths,
``sampling`` draws from it.
"""

from sadt_ray.flow.buffer.buffer import TrajectoryBuffer
from sadt_ray.flow.buffer.nodes import MISSING, ROOT, Nodes

__all__ = ["MISSING", "ROOT", "Nodes", "TrajectoryBuffer"]
