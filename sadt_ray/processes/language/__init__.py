"""Autoregressive priors: a frozen causal language model as a Markov chain over blocks of tokens."""
