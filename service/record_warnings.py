"""The table of warnings: what can be odd about an upload that is taken, and what it means."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.models import RecordWarning


@dataclass(frozen=True, slots=True)
class WarningKind:
    """One row of the table. Calling it makes the warning.

    `sentence` is a format string: each call gives the facts that it names. `meaning` is for the documentation.
    """

    code: str
    sentence: str
    meaning: str

    def __call__(self, **facts: object) -> RecordWarning:
        """Return the warning, with the facts in its sentence. Raises KeyError if a fact is missing."""
        return RecordWarning(self.code, self.sentence.format(**facts))


# What the client sent beside the WAV.
UNKNOWN_PARAMETER = WarningKind(
    "unknown_parameter",
    "{name} is not a known parameter. {advice}",
    "The address has a parameter that the service does not know. It had no effect.",
)

# Fields that do not fit the others. Players ignore them, and so does the service.
WRONG_BITS = WarningKind(
    "wrong_bits",
    "The header says {bits} bits, but {title} has {right}.",
    "A-law and mu-law have 8 bits for each sample, and ADPCM has 4, whatever the header says.",
)
WRONG_BLOCK_ALIGN = WarningKind(
    "wrong_block_align",
    "The header says a block align of {declared}, but it is {right}.",
    "The header's block align is not that of its channels and bits. It was ignored.",
)
WRONG_BYTE_RATE = WarningKind(
    "wrong_byte_rate",
    "The header says a byte rate of {declared}, but it is {right}.",
    "The header's byte rate is not that of its other fields. It was ignored.",
)

# What the headers of GSM 6.10 and ADPCM say about their blocks.
NO_SAMPLES_PER_BLOCK = WarningKind(
    "no_samples_per_block",
    "The header does not say how many samples a block has. It is {right}.",
    "GSM 6.10 or ADPCM without a count of samples for each block. It follows from the block align.",
)
WRONG_COEFFICIENTS = WarningKind(
    "wrong_coefficients",
    "MS ADPCM has {right} pairs of coefficients. The header says {declared} and has {given}.",
    "MS ADPCM with too few or too many coefficients. The usual ones were used.",
)
WRONG_FACT = WarningKind(
    "wrong_fact",
    "The fact chunk says {declared} samples, but the blocks hold {held}. All are kept.",
    "GSM 6.10 or ADPCM whose fact chunk does not fit its blocks. All samples of the blocks were taken.",
)

# Sizes that are wrong, and what stands around the samples.
WRONG_DATA_SIZE = WarningKind(
    "wrong_data_size",
    "The data chunk declares {declared} bytes of samples, but there are {byte_count}, and the RIFF size agrees.",
    "The data chunk's size is wrong. The RIFF size shows that nothing is missing, so all of it was taken.",
)
SURPLUS_SOUND = WarningKind(
    "surplus_sound",
    "The data chunk declares {declared} bytes of samples. The {surplus} bytes after them are not a chunk, "
    "so they were taken as sound, too.",
    "More sound arrived than the header declares, and all of it was taken.",
)
LEADING_TAG = WarningKind(
    "leading_tag",
    "An ID3 tag of {byte_count} bytes stands before the WAV. It was left out.",
    "An ID3 tag stands before the WAV. It is not sound and was left out.",
)
TRAILING_BYTES = WarningKind(
    "trailing_bytes",
    "What follows the samples from byte {offset} on is a broken chunk, or is not part of the WAV. It was left out.",
    "Bytes after the samples that are certainly not sound were left out: a chunk that is cut, what follows another "
    "chunk, or the start of another kind of file.",
)
PARTIAL_SAMPLE = WarningKind(
    "partial_sample",
    "The last {byte_count} bytes are less than one sample and were left out.",
    "The samples end in the middle of one. Its bytes were left out.",
)

# What `?incomplete=keep` has kept. The codes are those of the refusals without it.
KEPT_TRUNCATED = WarningKind(
    "truncated",
    "The header declares {declared} bytes of samples, and {byte_count} arrived.",
    "With `?incomplete=keep`: the header declares more samples than arrived.",
)
KEPT_SECOND_SOUND = WarningKind(
    "second_sound",
    "Another {what} follows at byte {offset}. It was left out.",
    "With `?incomplete=keep`: a second data chunk or a second WAV follows. Only the first was kept.",
)
KEPT_UNCLEAR_END = WarningKind(
    "unclear_end",
    "What follows the samples from byte {offset} on may be a chunk or sound. It was left out.",
    "With `?incomplete=keep`: what follows the samples may have been sound. It was left out.",
)

INTERRUPTED = WarningKind(
    "interrupted",
    "The upload broke off. What had arrived was kept.",
    "With `?incomplete=keep`: the connection broke or stalled and nobody came back in time, a limit on size or time "
    "was reached, or the service stopped. What had arrived was kept.",
)

# Older replicas keep a warning's sentence alone.
OTHER = WarningKind("other", "{detail}", "A warning that a service of the first version has kept.")

TABLE: Mapping[str, WarningKind] = {row.code: row for row in list(globals().values()) if isinstance(row, WarningKind)}
