"""What can go wrong where something is begun in a checkout."""


class ScaffoldError(Exception):
    """Nothing could be begun for a reason that the developer can change; the message says which."""
