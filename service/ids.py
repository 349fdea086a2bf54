"""Shortens ids in text for people: a record's id is the permission to download it, and a token looks the same."""

import re

# The first eight digits are enough to tell lines apart. The dashes may be anywhere, and percent-encoded, because
# tokens are read with them anywhere.
_LEAST_LENGTH = 32
_ID = re.compile(r"([0-9a-f]{8})(?:(?:-|%2d)*[0-9a-f]){24}", re.IGNORECASE)


def shortened(text: str) -> str:
    """Return the text with only the first eight digits of each id and each token in it."""
    return text if len(text) < _LEAST_LENGTH else _ID.sub(r"\1…", text)
