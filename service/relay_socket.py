"""The socket at which a process takes the requests that other processes pass on to it."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.socket_places import socket_directory

_UNIX = "unix:"
_NAME = "relay"


@dataclass(frozen=True, slots=True)
class RelaySocket:
    """A bound socket, and its address as others find it in the database: `unix:/path` or `http://host:port`."""

    listener: socket.socket
    address: str


@contextlib.contextmanager
def open_relay_socket(database_url: str, *, is_local: bool) -> Iterator[RelaySocket]:
    """Bind a socket for the length of the block.

    If all processes of the service are on this machine (`is_local`), it is a Unix socket that only this user may use.
    Else it is a free port at the address from which the database is reached, which other replicas reach too. If there
    is no such address, it is a Unix socket after all.
    """
    host = None if is_local else _own_address(database_url)
    if host is not None:
        listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        port = listener.getsockname()[1]
        with listener:
            yield RelaySocket(listener, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        return
    with socket_directory(_NAME) as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / _NAME))
        yield RelaySocket(listener, f"{_UNIX}{folder / _NAME}")


def unix_path(address: str) -> str | None:
    """Return the path of a Unix socket's address, or None if it is one of a network."""
    return address.removeprefix(_UNIX) if address.startswith(_UNIX) else None


def _own_address(database_url: str) -> str | None:
    """Return this machine's address in the database's network. Nothing is sent."""
    url = urlsplit(database_url)
    if not url.hostname:
        return None
    with contextlib.suppress(OSError):
        for family, kind, _, _, place in socket.getaddrinfo(url.hostname, url.port or 5432, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe:
                probe.connect(place)
                return str(probe.getsockname()[0])
    return None
