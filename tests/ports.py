"""A port for a server that is started later, or stopped and started again in between."""

import random
import socket

KEPT = range(20_000, 32_000)
"""Below those that systems give to outgoing connections, one of which could take it meanwhile."""


def port_to_keep():
    """A port of the loopback address that nothing listens on now."""
    for port in random.sample(KEPT, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port among a hundred")
