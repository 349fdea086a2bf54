"""Who the client is, and how it came, where a proxy that we trust stands between."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import web

from service.web.app_keys import NO_ROUTE, TRUSTED_PROXIES


def client_address(request: web.BaseRequest) -> str | None:
    """Return the client's address: the peer's or, behind trusted proxies, the last one that is none of theirs."""
    address = request.remote
    if NO_ROUTE in request or not isinstance(request, web.Request):
        return address  # a request that is not HTTP has not reached an application
    proxies = request.app[TRUSTED_PROXIES]
    told = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    while address is not None and told and _is_among(address, proxies):
        address = told.pop().strip() or address
    return address


def client_scheme(request: web.Request) -> str:
    """Return the scheme that the client used, as a trusted proxy tells it, else the connection's own."""
    told = request.headers.get("X-Forwarded-Proto", "")
    if told in {"http", "https"} and _is_among(request.remote or "", request.app[TRUSTED_PROXIES]):
        return told
    return request.scheme


def _is_among(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        return any(ip_address(address) in network for network in networks)
    except ValueError:
        return False
