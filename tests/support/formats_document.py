"""The tables of docs/formats.md, made from the service's own tables."""

from collections.abc import Iterable, Sequence

from service import record_warnings, refusals
from service.audio.other_formats import OTHER_FORMATS
from service.audio.placeholders import PLACEHOLDERS
from tests.support.decoders import EXCEPTIONS

REFUSED = (
    *("not_wav", "empty", "truncated", "second_sound", "unclear_end", "malformed_header", "malformed_block"),
    *("header_too_large", "size_wrapped", "unsupported_codec", "unsupported_channels", "unsupported_sample_rate"),
    "unencodable_audio",
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables() -> dict[str, str]:
    """Return each table by the heading that it stands under."""
    return {
        'Sizes that mean "I do not know"': table(
            ("size of the data chunk", "who writes it"), [(f"`{kind.sizes}`", kind.writers) for kind in PLACEHOLDERS]
        ),
        "Warnings": table(
            ("code", "what it means"), [(f"`{row.code}`", row.meaning) for row in record_warnings.TABLE.values()]
        ),
        "What is refused": table(
            ("status, code", "what the answer says, for example"),
            [
                (f"{row.kind.status} `{row.code}`", row.shown().detail)
                for row in (refusals.TABLE[code] for code in REFUSED)
            ],
        ),
        "Other kinds of file": table(
            ('the service says "This is …"', "and what to do"),
            [(kind.name, kind.advice.replace("|", "\\|")) for kind in OTHER_FORMATS],
        ),
        "Where the service differs from decoders": table(
            ("code", "why"), [(f"`{code}`", why) for code, why in EXCEPTIONS.items()]
        ),
    }
