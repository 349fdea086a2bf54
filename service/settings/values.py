"""What the values of some settings may be, and what they mean; a ValueError says what they must be."""

import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl

# Apps that show pages of their own have schemes of their own, such as capacitor://localhost.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_OWN_PORT = re.compile(r"(http://.+):80|(https://.+):443")


def check_public_url(url: AnyHttpUrl) -> AnyHttpUrl:
    """Return the URL if paths can be put behind it. Raises ValueError."""
    if url.query or url.fragment:
        raise ValueError("must have no query and no fragment")
    return url


def check_storage_url(text: str) -> str:
    """Return the text if it names a bucket or a directory. Raises ValueError."""
    url = urlsplit(text)
    if url.scheme == "s3" and url.netloc and not (url.query or url.fragment):
        return text
    if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
        return text
    raise ValueError("must be s3://bucket/prefix or file:///directory")


def check_origins(text: str) -> str:
    """Return the text if it is origins, or stars, with commas between them. Raises ValueError."""
    for origin in origins_in(text):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"must be origins as browsers send them, such as https://app.example.com, or *; {origin!r} is not one: "
                "an origin is a scheme, a host and perhaps a port, without a slash at its end"
            )
    return text


def origins_in(text: str) -> frozenset[str]:
    """Return the origins as browsers send them: in lower case, and without the scheme's own port."""
    return frozenset(_without_own_port(origin.strip().lower()) for origin in text.split(",")) - {""}


def _without_own_port(origin: str) -> str:
    found = _OWN_PORT.fullmatch(origin)
    return found[1] or found[2] if found else origin


def check_networks(text: str) -> str:
    """Return the text if it is networks with commas between them. Raises ValueError."""
    for network in text.split(","):
        ip_network(network.strip())
    return text


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a service that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
