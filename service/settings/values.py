"""What the values of some settings may be, and what they mean; a ValueError says what they must be."""

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl


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
