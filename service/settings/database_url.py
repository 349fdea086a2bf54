"""Checks WAVEPRESS_DATABASE_URL, and adds a password to it."""

import re
from urllib.parse import quote

_HOST = r"(?:\[[^\]/?#@]*\]|[^:/?#@,\[\]]*)(?::\d*)?"
_PARAMETER = r"[^=&#]+=[^&#]*"
# What libpq takes. It splits a URL at the first "@" and "/", so a password with one of them would become a part of the
# host, and the error would be about that host.
_URL = re.compile(
    rf"postgres(?:ql)?://(?:[^@/?#]*@)?{_HOST}(?:,{_HOST})*(?:/[^/?#@]*)?(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_KEYWORDS = re.compile(r"\s*\w+\s*=")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORM = "postgresql://user:password@host/name"


def check_database_url(text: str) -> str:
    """Return the text if libpq takes it: a URL, or `host=... dbname=...`.

    Raises ValueError, whose sentence says what is taken but never repeats the text, which may hold a password.
    """
    scheme = _SCHEME.match(text)
    if scheme is None and _KEYWORDS.match(text):
        return text
    if scheme is None or scheme[1] not in {"postgresql", "postgres"}:
        given = f"{scheme[1]}:// is not PostgreSQL" if scheme else "this is not a URL"
        raise ValueError(f"must be {_FORM}; {given}")
    if not _URL.fullmatch(text) or _BARE_PERCENT.search(text):
        raise ValueError(
            f"must be {_FORM}. Percent-encode special characters in the user and the password "
            "(@ is %40, / is %2F, # is %23, ? is %3F, : is %3A, % is %25), "
            "or set WAVEPRESS_DATABASE_PASSWORD to the password as it is"
        )
    return text


def with_password(url: str, password: str) -> str:
    """Return the URL, or the keywords, with that password in place of any other."""
    if _SCHEME.match(url):
        return f"{url}{'&' if '?' in url else '?'}password={quote(password, safe='')}"
    escaped = password.replace("\\", r"\\").replace("'", r"\'")
    return f"{url} password='{escaped}'"
