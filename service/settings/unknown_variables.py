"""Finds misspelt settings in the environment."""

import difflib
import os
import re

from service.settings import PREFIX, Settings

# Kubernetes sets these if a Service has the name wavepress.
_SERVICE_LINK = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?")


def unknown_variables() -> list[str]:
    """Return a sentence for each variable that has our prefix but is not a setting. It suggests the nearest name."""
    known = {name.upper() + suffix for name in Settings.model_fields for suffix in ("", "_FILE")}
    given = {name for name in os.environ if name.upper().startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name)}
    return [_sentence(name, known) for name in sorted(given) if name[len(PREFIX) :].upper() not in known]


def _sentence(name: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name[len(PREFIX) :].upper(), known, n=1)
    hint = f"Did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/settings.md lists all settings."
    return f"{name} is not a setting. {hint}"
