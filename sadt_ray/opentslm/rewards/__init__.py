"""Rewards for texts about series: rationales with their answers, and captions.

Samples are texts, numpy arrays of strings [B]. A reward that depends on the claimed answer alone is a table with one
number per answer (``answers``). Label-free rewards: ``format``; ``spectral_label``, with ``templates`` of the training
split; ``agreement`` and ``consensus`` with the weighted texts of a pilot; ``claims`` of captions; ``likelihood``; and
``verifier``, trained with ``answer_verifier`` and cross-fitted by source (``cross_fit``). ``oracle`` reads the gold
answer: it gives upper bounds and the training targets of verifiers, no deployable result. ``build`` parses sums of
rewards; ``weight`` chooses the weight of a term relative to the vote.
"""
