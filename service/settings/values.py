"""What the values of some settings may be, and what they mean; a ValueError says what they must be."""

import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl

# Apps that show pages of their own have schemes of their own, such as capacitor://localhost.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_OWN_PORT = re.compile(r"(http://.+):80|(https://.+):443")
_MOST_CHARACTERS = 100


def quoted(value: object) -> str:
    """Return a value between quotes, and not all of it if it is long."""
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def check_file(path: Path) -> Path:
    """Return the path if there is a file. Raises ValueError."""
    try:
        is_file = path.is_file()
    except OSError:  # a folder may not be entered, or the name is too long
        is_file = False
    if not is_file:
        raise ValueError("must be the path of a file that exists, such as /usr/bin/ffmpeg")
    return path


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


def check_endpoint_url(text: str) -> str:
    """Return the text if it says where a store is. Raises ValueError."""
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("must be a URL with http:// or https://, such as https://s3.example.com")
    return text


def check_origins(text: str) -> str:
    """Return the text if it is origins, or stars, with commas between them. Raises ValueError."""
    for origin in origins_in(text):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                "must be origins as browsers send them, such as https://app.example.com, or *; "
                f"{quoted(origin)} is not one: "
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
    for network in map(str.strip, text.split(",")):
        try:
            whole = ip_network(network, strict=False)
        except ValueError:
            whole = None
        if whole is None or whole.network_address != ip_interface(network).ip:
            hint = f"; the network of {network} is {whole}" if whole else f"; {quoted(network)} is not one"
            raise ValueError(f"must be networks with commas between them, such as 10.0.0.0/8,fd00::/8{hint}")
    return text


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a service that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
