"""The chunks of a WAV: their names, and what may stand behind the last one."""

# The names that programs really write. The samples themselves are very unlikely to begin with one.
KNOWN_CHUNKS = frozenset(
    name.ljust(4).encode()
    for name in (
        *("fmt", "fact", "LIST", "INFO", "JUNK", "junk", "PAD", "FLLR", "ds64", "PEAK", "CSET", "DISP"),
        *("cue", "plst", "adtl", "labl", "ltxt", "note", "smpl", "inst", "acid", "strc", "tlst", "regn", "umid"),
        *("bext", "iXML", "axml", "bxml", "sxml", "chna", "link", "levl", "qlty", "mext", "cart", "dbmd", "minf"),
        *("elm1", "afsp", "LGWV", "_PMX", "id3", "ID3", "AFAn", "DGDA", "SMED", "ResU", "SNDM", "wamd", "guan"),
        *("logt", "PrmA", "wavl", "slnt", "trkn", "IXML", "XMP", "meta", "BWFM", "clm", "Cr8r", "MD5"),
    )
)
WAV_MAGIC = frozenset({b"RIFF", b"RF64", b"BW64"})
# Tags that programs for MP3s write behind any file.
_TRAILERS = (b"TAG", b"APETAGEX", b"ID3\x03", b"ID3\x04", b"LYRICSBE", b"PK\x03\x04", b"PK\x05\x06")
CHUNK_HEADER_BYTES = 8


def is_name(chunk_id: bytes) -> bool:
    """Return whether these four bytes can be the name of a chunk: printable ASCII."""
    return all(0x20 <= byte < 0x7F for byte in chunk_id)  # noqa: PLR2004 - printable ASCII


def is_trailer(start: bytes) -> bool:
    """Return whether the first eight bytes are those of a tag or an archive that was appended to a WAV."""
    return start.startswith(_TRAILERS)
