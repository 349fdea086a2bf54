"""Says in plain words what a setting may be, instead of in those of the library that reads it."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from service.settings.values import quoted

_UNITS = {"bytes": "bytes", "seconds": "seconds", "days": "days", "rate": "bits per second"}
_NUMBERS = {"integer": "a whole number", "number": "a number"}
_TEXTS = {"uri": "a URL with http:// or https://"}


def complaint(error: ErrorDetails, schema: Mapping[str, Any], *, is_secret: bool) -> str:
    """Return what the setting must be, with an example, and what it is. `schema` is the setting's JSON schema.

    The checks of `service.settings.values` have words of their own.
    """
    name = str(error["loc"][0])
    if error["type"] == "value_error":
        must = error["msg"].removeprefix("Value error, ")
    else:
        must = f"must be {_allowed(name, schema)}"
    return must if is_secret else f"{must} (it is {quoted(error['input'])})"


def _allowed(name: str, schema: Mapping[str, Any]) -> str:
    kind = next((kind for kind in schema.get("anyOf", ()) if kind["type"] != "null"), schema)
    if "enum" in kind:
        *others, last = kind["enum"]
        return f"{', '.join(others)} or {last}"
    if kind["type"] in _NUMBERS:
        unit = next((f", in {_UNITS[word]}" for word in name.split("_") if word in _UNITS), "")
        words = f"{_NUMBERS[kind['type']]}{_range(kind)}{unit}"
    else:
        words = _TEXTS.get(kind.get("format", ""), "text")
    example = [*schema.get("examples", ()), schema.get("default")][0]
    return words if example is None else f"{words}, such as {example}"


def _range(kind: Mapping[str, Any]) -> str:
    least, most, above = (kind.get(bound) for bound in ("minimum", "maximum", "exclusiveMinimum"))
    if above is not None:
        return f" above {above:g}" if most is None else f" above {above:g} and up to {most:g}"
    if least is None:
        return ""
    return f" of at least {least}" if most is None else f" from {least} to {most}"
