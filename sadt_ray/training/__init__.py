"""Trainings: the diffusion prior of a series, and the flow F_phi from the trajectories of searches."""
