"""Parses Content-Disposition as clients write it, not only as RFC 6266 and RFC 7578 want it."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

# Quotes in a name are often not escaped, and the backslashes of a Windows path never are. So the quote that ends a
# value is the first one with a semicolon or the end behind it, and a backslash escapes nothing but these two.
_CLOSING_QUOTE = re.compile(r'(?<!\\)"\s*(?:;|$)')
_ESCAPED = re.compile(r'\\(["\\])')
_MOST_PARAMETERS = 32


def parse_disposition(header: str) -> dict[str, str]:
    """Return the parameters of a Content-Disposition by their names in lower case, whatever its type is.

    Quoted values may have semicolons, values without quotes may have blanks. Of two with one name, the first counts.
    A byte that is not UTF-8 becomes U+FFFD.
    """
    parameters: dict[str, str] = {}
    text = header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    for name, value in _parameters(text.partition(";")[2]):
        parameters.setdefault(name, value)
        if len(parameters) == _MOST_PARAMETERS:
            break
    return parameters


def parameter(parameters: Mapping[str, str], name: str) -> str | None:
    """Return a parameter as text, or None. The extended form `name*=` (RFC 8187) comes first.

    A value in sections, `name*0=`, `name*1=` (RFC 2231), is put together.
    """
    extended = _decoded(parameters.get(f"{name}*", ""))
    if extended is not None:
        return extended
    return parameters[name] if name in parameters else _in_sections(parameters, name)


def _parameters(rest: str) -> Iterator[tuple[str, str]]:
    while rest:
        name, equals, behind = rest.partition("=")
        if ";" in name or not equals:  # a name without a value
            rest = rest.partition(";")[2]
            continue
        value, rest = _value(behind.lstrip())
        yield name.strip().lower(), value


def _value(text: str) -> tuple[str, str]:
    """Return the value at the beginning, and what follows it."""
    if not text.startswith('"'):
        value, _, rest = text.partition(";")
        return value.strip(), rest
    end = _CLOSING_QUOTE.search(text, 1)
    value, rest = (text[1:], "") if end is None else (text[1 : end.start()], text[end.end() :])
    return _ESCAPED.sub(r"\1", value), rest


def _in_sections(parameters: Mapping[str, str], name: str) -> str | None:
    whole, is_extended = "", f"{name}*0*" in parameters
    for number in range(_MOST_PARAMETERS):
        section = parameters.get(f"{name}*{number}*", parameters.get(f"{name}*{number}"))
        if section is None:
            break
        whole += section
    return _decoded(whole) if is_extended else whole or None


def _decoded(value: str) -> str | None:
    """Return the text of charset'language'percent-encoded, or None if it is not that."""
    charset, apostrophe, rest = value.partition("'")
    _, second, encoded = rest.partition("'")
    if not (apostrophe and second):
        return None
    try:
        return unquote(encoded, charset or "utf-8", "strict")
    except (LookupError, ValueError):
        return None
