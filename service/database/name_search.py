"""Writes the pattern with which PostgreSQL finds a part of a name, in any case and in any locale."""

import unicodedata


def patterns(part: str) -> list[str]:
    """Return regular expressions of which one matches each name that contains `part`.

    PostgreSQL's own folding of case knows only ASCII in the locale C. Names from macOS have their accents apart.
    """
    return sorted({"".join(map(_pattern, unicodedata.normalize(form, part))) for form in ("NFC", "NFD")})


def _pattern(character: str) -> str:
    forms = {form for form in (character, character.lower(), character.upper()) if len(form) == 1}
    if len(forms) > 1:
        return f"[{''.join(sorted(forms))}]"
    return character if character.isalnum() or not character.isascii() else f"\\{character}"
