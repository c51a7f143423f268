"""What can go wrong with a broker of our own."""


class BrokerError(Exception):
    """The broker cannot run; the message says why and what to do."""


class PortTakenError(BrokerError):
    """Another process listens on a port that the broker should have."""
