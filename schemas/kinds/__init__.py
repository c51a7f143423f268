"""The kinds of aggregates, in the order in which every list of them is written."""

from typing import Final

KINDS: Final[tuple[str, ...]] = ("person", "organization", "agent", "location", "policy", "document", "workflow")
