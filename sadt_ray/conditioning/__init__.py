"""Scenarios in which a condition holds, and the probability that it does."""
