"""The report of a stage run: answers with their probabilities and reasons, and trees of texts."""
