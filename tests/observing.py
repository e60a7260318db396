"""Observers for tests."""


class Calls:
    """Calls a function with the search after every batch."""

    def __init__(self, function):
        self.function = function

    def after_batch(self, search, stats):
        self.function(search)
