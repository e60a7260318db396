"""Samplers that move in noise space: a chain as a function of its noises, annealing, subset simulation."""
