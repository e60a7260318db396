"""Trajectories as Arrow files: one row per node. The column ``parent`` gives paths and siblings.

A directory holds numbered parts, which are Arrow IPC files for any Arrow reader. The last part may still grow, under a
name that ends in ``.writing``. A reader can follow it batch by batch, and a crash loses at most one batch. ``schema``
defines the columns, ``writer`` writes parts, ``parts`` reads them.
"""

from sadt_ray.trajectories.parts import read_trajectories
from sadt_ray.trajectories.schema import FIRST_PARTICLE, SCHEMA_VERSION, trajectory_schema
from sadt_ray.trajectories.writer import TrajectoryWriter

__all__ = ["FIRST_PARTICLE", "SCHEMA_VERSION", "TrajectoryWriter", "read_trajectories", "trajectory_schema"]
