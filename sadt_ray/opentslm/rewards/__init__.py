"""Rewards for texts about series: what is a rationale with its answer, or a caption, worth?

Samples are texts, numpy arrays of strings [B]. Whatever depends on the claimed answer alone is a table of one number an
answer (``answers``). Label-free: ``format``, ``spectral_label`` (with ``templates`` of the training split),
``agreement`` and ``consensus`` with a pilot's weighted texts, ``claims`` of captions, ``likelihood``, and ``verifier``,
learned with ``answer_verifier`` and ``cross_fit`` by source. ``oracle`` reads the gold answer: it gives the ceiling and
the verifier's training targets, nothing deployable. ``build`` reads sums of them from a command line; ``weight``
chooses what a term may say beside the vote.
"""
