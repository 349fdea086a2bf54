"""Tells by its declared type whether a body, or a part of a form, may be a WAV."""

WAV_TYPES = {"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}
# What clients declare if they mean "some file", beside types that nobody knows. The first bytes decide.
_UNTOLD_TYPES = {"multipart/form-data", "application/x-www-form-urlencoded"}
_KNOWN_APPLICATIONS = {
    *("json", "xml", "yaml", "x-yaml", "javascript", "pdf", "rtf", "msword", "zip", "x-zip-compressed", "gzip"),
    *("x-gzip", "x-tar", "x-7z-compressed", "ogg", "mp4", "x-mpegurl", "vnd.apple.mpegurl", "xhtml+xml"),
}
_KNOWN_SUFFIXES = ("+json", "+xml", "+zip")


def media_type(declared: str) -> str:
    """Return the type in a Content-Type, in lower case and without parameters; empty if it has none."""
    return declared.partition(";")[0].strip().lower()


def may_be_wav(declared: str) -> bool:
    """Return whether the first bytes of a body of this type decide if it is a WAV.

    They do for a WAV's own types, for a wildcard, for binary types that nobody knows, and for what is not a type.
    """
    if declared in WAV_TYPES | _UNTOLD_TYPES or "*" in declared:
        return True
    kind, slash, name = declared.partition("/")
    if not slash or kind in {"binary", "unknown"} or "unknown" in name:
        return True
    if kind == "audio":
        return "wav" in name
    return kind == "application" and name not in _KNOWN_APPLICATIONS and not name.endswith(_KNOWN_SUFFIXES)


def is_sound(declared: str) -> bool:
    """Return whether this is the type of a recording, in whatever format; videos have sound, too."""
    return declared.startswith(("audio/", "video/"))
