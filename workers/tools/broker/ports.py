"""The ports of a broker: found free, and all different."""

from __future__ import annotations

import socket

from annals.workers.tools.broker.errors import BrokerError, PortTakenError
from annals.workers.tools.broker.properties import HOST, Ports


def find_ports(fixed: int, advertised: int | None) -> Ports:
    """Return the ports of one start; all are held while they are chosen, so that no two are the same."""
    with socket.socket() as client, socket.socket() as internal, socket.socket() as controller:
        # As Java does: a connection that was just closed does not block the port, a listener does.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            client.bind((HOST, fixed))
            client.listen()
        except PermissionError:
            raise BrokerError(f"port {fixed} needs root: choose one from 1024 on") from None
        except OSError:
            raise port_taken(fixed) from None
        internal.bind((HOST, 0))
        controller.bind((HOST, 0))
        ports = [each.getsockname()[1] for each in (client, internal, controller)]
    return Ports(ports[0], advertised or ports[0], ports[1], ports[2])


def port_taken(port: int) -> PortTakenError:
    """Return the error that names a taken port and what to do."""
    return PortTakenError(
        f"port {port} is taken by another process: stop that, or choose another one with --port (0 takes a free one)"
    )
