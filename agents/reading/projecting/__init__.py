"""Rows of projections in a store: how they are kept, which set of them answers, and what a version may do."""
