"""The view of a search's trees, with the series below a node."""
