"""Finds the client's address and the URL that the client called, also behind trusted proxies."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import hdrs, web

from service.web.app_keys import NO_ROUTE, PUBLIC_URL, TRUSTED_PROXIES


def host_and_port(host: str, port: int) -> str:
    """Return host and port as a URL has them."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def base_url(request: web.Request) -> str:
    """Return the URL at which the client reaches this service, without a slash at the end."""
    public_url = request.app[PUBLIC_URL]
    if public_url:
        return public_url
    return f"{client_scheme(request)}://{request.headers.get(hdrs.HOST) or _own_address(request)}"


def client_address(request: web.BaseRequest) -> str | None:
    """Return the client's address: the peer's or, behind trusted proxies, the last one that is not a proxy's."""
    address = request.remote
    if NO_ROUTE in request or not isinstance(request, web.Request):
        return address  # a request that is not HTTP has not reached an application
    proxies = request.app[TRUSTED_PROXIES]
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    while address is not None and forwarded and _is_among(address, proxies):
        address = forwarded.pop().strip() or address
    return address


def client_scheme(request: web.Request) -> str:
    """Return the scheme that the client used: the one that a trusted proxy reports, else the connection's own.

    What comes by a Unix socket has been passed on by another process of this service.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    is_trusted = not request.remote or _is_among(request.remote, request.app[TRUSTED_PROXIES])
    if forwarded in {"http", "https"} and is_trusted:
        return forwarded
    return request.scheme


def _own_address(request: web.Request) -> str:
    """Return a substitute for the Host header, which HTTP/1.0 does not require."""
    assert request.transport is not None  # noqa: S101 - a request that is being answered
    return host_and_port(*request.transport.get_extra_info("sockname")[:2])


def _is_among(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        return any(ip_address(address) in network for network in networks)
    except ValueError:
        return False
