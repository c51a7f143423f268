"""For those who write aggregates: given/when/then, strategies made from types, and the laws of every decider.

`specification` needs nothing more; `strategies`, `histories` and `laws` need hypothesis (the extra `testing`).
"""

from annals.agents.testing.specification import given

__all__ = ["given"]
