"""Looks up the names of database servers, so that libpq does not do it in the event loop."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
import threading
from collections.abc import Iterator, Mapping

from psycopg2.extensions import parse_dsn


class HostAddresses:
    """The addresses of the servers that a database URL names.

    libpq looks names up inside PQconnectStart, and the event loop stands still until DNS answers or is given up. If
    it is told the addresses beside the names, it asks nobody. aiopg has no issue about this.
    """

    def __init__(self, url: str) -> None:
        given = parse_dsn(url)
        hosts, ports = given.get("host", "").split(","), given.get("port", "").split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        self._servers = list(zip(hosts, ports, strict=False))
        self._must_ask = "hostaddr" not in given and any(map(_is_name, hosts))
        self._look_up: asyncio.Future[Mapping[str, str]] | None = None

    async def find(self) -> Mapping[str, str]:
        """Return the parameters that a connection needs beside the URL; asks DNS each time if there is a name.

        Raises OSError if no server has an address. A caller may give up at any time: the next one waits for the same
        answer, so that a DNS that is silent holds one thread.
        """
        if not self._must_ask:
            return {}
        if self._look_up is None or self._look_up.done():
            self._look_up = self._ask()
        return await asyncio.shield(self._look_up)

    def _ask(self) -> asyncio.Future[Mapping[str, str]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Mapping[str, str]] = loop.create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits any more

        def ask() -> None:
            try:
                found, failure = self._addresses(), None
            except OSError as error:
                found, failure = {}, error
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, answer, found, failure)

        # Not a thread of an executor: Python would wait for it before it exits, as long as DNS is silent.
        try:
            threading.Thread(target=ask, name="dns", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        return answer

    def _addresses(self) -> Mapping[str, str]:
        """Return each address as a server of its own, as libpq would try them. Blocking."""
        servers, failure = list[tuple[str, str, str]](), OSError("the database URL names no server")
        for host, port in self._servers:
            try:
                servers += [(host, address, port) for address in _addresses_of(host)]
            except OSError as error:  # another server may be found
                failure = error
        if not servers:
            raise failure
        parameters = zip(("host", "hostaddr", "port"), zip(*servers, strict=True), strict=True)
        return {name: ",".join(values) for name, values in parameters if any(values)}


def _settle(answer: asyncio.Future[Mapping[str, str]], found: Mapping[str, str], failure: OSError | None) -> None:
    if answer.done():
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(found)


def _addresses_of(host: str) -> Iterator[str]:
    if not _is_name(host):
        yield "" if _is_local(host) else host
        return
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    yield from dict.fromkeys(str(place[0]) for *_, place in found)


def _is_name(host: str) -> bool:
    """Return whether DNS has to be asked: a host may also be a socket's directory or an address."""
    if _is_local(host):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _is_local(host: str) -> bool:
    return not host or host.startswith(("/", "@"))
