"""The page of a stage's run: answers, their probabilities and reasons, trees of texts."""
