"""Refuses requests that call this service by an unknown name, because our links repeat the Host header."""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address

from aiohttp import hdrs, web

from service.refusals import INVALID_HOST
from service.web.app_keys import ALLOWED_HOSTS

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LARGEST_PORT = 65_535


def require_known_host(request: web.Request) -> None:
    """Raise MalformedRequest if the Host header is malformed, or is a name that this service does not have.

    `localhost` and IP addresses always pass, because probes and other replicas send them. So does a request of HTTP/1.0
    without a Host header.
    """
    host = request.headers.get(hdrs.HOST)
    if host is not None and not _is_known(host, request.app[ALLOWED_HOSTS]):
        raise INVALID_HOST()


def _is_known(host: str, allowed: Collection[str]) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].lower().removesuffix(".")
    if int(found["port"] or 0) > _LARGEST_PORT:
        return False
    if name.startswith("["):
        return _is_ip_address(name.strip("[]")) and ":" in name
    return name == "localhost" or name in allowed or "*" in allowed or _is_ip_address(name)


@lru_cache(maxsize=256)
def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
