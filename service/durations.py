"""Writes lengths of sound for people."""


def clock(seconds: int) -> str:
    """Return whole seconds as a player shows them: 0:07, 5:00 or 1:02:03."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
