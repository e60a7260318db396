"""Trajectories as Arrow files: one row a node, so that paths and siblings can be read off ``parent``.

A directory holds numbered parts, Arrow IPC files that any Arrow reader opens. The last one may still be growing, under
a name that ends in ``.writing``: whoever follows the directory sees it batch after batch, and a crash loses at most the
batch that was being written. ``schema`` says what is in a row, ``writer`` writes parts, ``parts`` reads them.
"""

from sadt_ray.trajectories.parts import read_trajectories
from sadt_ray.trajectories.schema import FIRST_PARTICLE, SCHEMA_VERSION, trajectory_schema
from sadt_ray.trajectories.writer import TrajectoryWriter

__all__ = ["FIRST_PARTICLE", "SCHEMA_VERSION", "TrajectoryWriter", "read_trajectories", "trajectory_schema"]
