"""Addresses to listen on."""

from __future__ import annotations

import socket


def free_address(host: str, port: int) -> str:
    """The numeric address of ``host``, on which nobody listens at ``port`` yet.

    granian shares ports among its workers, so it would share one with a second server that was started by mistake, too.

    Raises:
        OSError: somebody does, or the host is not one of this machine.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    return str(address[0])
