"""WAVs of block codecs that are wrong, by accident or on purpose; `hostile` adds them to the corpus."""

import struct

from tests.support.blocks import FORMS, GSM, IMA, MS, Blocks, Kind, of_chirp

_GSM, _IMA, _MS = of_chirp(GSM, 1), of_chirp(IMA, 1), of_chirp(MS, 1)
_IMA_STEREO, _MS_STEREO = of_chirp(IMA, 2), of_chirp(MS, 2)


def _with_byte(blocks: Blocks, place: int, value: int) -> bytes:
    return blocks.but(data=blocks.data[:place] + bytes([value]) + blocks.data[place + 1 :]).wav()


def _tagged(tag: int) -> bytes:
    """Return PCM under the tag of a block codec."""
    return Blocks(Kind(tag, "", 1), 1, 8000, 2, bytes(800), 16).wav()


# 422 malformed_header
MALFORMED_HEADERS = {
    **{f"PCM tagged {tag:#x}": _tagged(tag) for tag in (0x02, 0x11, 0x31)},
    **{f"GSM in blocks of {align} bytes": _GSM.but(block_align=align).wav() for align in (0, 33, 64, 66, 65535)},
    **{f"IMA ADPCM in blocks of {align} bytes": _IMA.but(block_align=align).wav() for align in (0, 1, 3, 255, 65535)},
    **{f"MS ADPCM in blocks of {align} bytes": _MS.but(block_align=align).wav() for align in (0, 1, 6)},
    **{f"GSM of {count} samples in a block": _GSM.but(samples_per_block=count).wav() for count in (1, 160, 65535)},
    **{f"IMA ADPCM of {count} samples in a block": _IMA.but(samples_per_block=count).wav() for count in (1, 504, 506)},
    **{f"MS ADPCM of {count} samples in a block": _MS.but(samples_per_block=count).wav() for count in (1, 499, 501)},
    "MS ADPCM with coefficients of zero": _MS.but(coefficients=bytes(28)).wav(),
    "MS ADPCM with one other coefficient": _MS.but(coefficients=_MS.coefficients[:-1] + b"\0").wav(),
    "MS ADPCM with 65535 coefficients that are not its own": _MS.but(
        coefficients=struct.pack("<h", -1) * 14, coefficient_count=65535
    ).wav(),
}
# 422 malformed_block
MALFORMED_BLOCKS = {
    "IMA ADPCM with an index of 89": _with_byte(_IMA, 2, 89),
    "IMA ADPCM with an index of 255 in its last block": _with_byte(_IMA, len(_IMA.data) - _IMA.block_align + 2, 255),
    "stereo IMA ADPCM with an index of 89 on the right": _with_byte(_IMA_STEREO, 6, 89),
    "MS ADPCM with a predictor of 7": _with_byte(_MS, 0, 7),
    "MS ADPCM with a predictor of 255 in a short block": _with_byte(_MS.but(data=_MS.data[:300]), 256, 255),
    "stereo MS ADPCM with a predictor of 7 on the right": _with_byte(_MS_STEREO, 1, 7),
    "MS ADPCM of ones": _MS.but(data=b"\xff" * 1024).wav(),
}
# 422 unsupported_channels
CHANNELS = {
    f"{kind} of {count} channels": of_chirp(kind, 1).but(channels=count).wav()
    for kind, count in [
        *((GSM, 0), (GSM, 2), (IMA, 0), (IMA, 3), (IMA, 65535), (MS, 0), (MS, 3), (MS, 32)),
    ]
}
# 422 unsupported_codec
CODECS = {
    "IMA ADPCM of 3 bits": _IMA.but(bits=3, samples_per_block=None).wav(),
    "MS ADPCM of 0 bits": _MS.but(bits=0, samples_per_block=None).wav(),
}
# 422 truncated
TRUNCATED = {f"a block of {kind} is missing": of_chirp(kind, count).wav()[:-70] for kind, count in FORMS}
# 422 empty
EMPTY = {f"a head of {kind} that is cut off": of_chirp(kind, count).but(data=b"\0\0\0").wav() for kind, count in FORMS}


def _streamed(kind: Kind, channels: int) -> tuple[bytes, int, int]:
    blocks = of_chirp(kind, channels)
    whole = blocks.but(data=blocks.data[: 4 * blocks.block_align], data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF, fact=0)
    return whole.wav(), 4 * (blocks.samples_per_block or 0), channels


# 201: the WAV, its samples and channels.
TAKEN = {
    **{f"{kind} of {channels} channels, streamed": _streamed(kind, channels) for kind, channels in FORMS},
    "GSM of zeros": (_GSM.but(data=bytes(650)).wav(), 3200, 1),
    "GSM of ones": (_GSM.but(data=b"\xff" * 650).wav(), 3200, 1),
    "IMA ADPCM of zeros": (_IMA.but(data=bytes(512)).wav(), 1010, 1),
    "IMA ADPCM with an index of 88": (_with_byte(_IMA.but(data=_IMA.data[:512]), 2, 88), 1010, 1),
    "IMA ADPCM with a reserved byte": (_with_byte(_IMA.but(data=_IMA.data[:512]), 3, 255), 1010, 1),
    "IMA ADPCM in the smallest blocks": (
        _IMA.but(block_align=8, samples_per_block=9, data=bytes(8 * 100)).wav(),
        900,
        1,
    ),
    "stereo IMA ADPCM of 16 bits": (_IMA_STEREO.but(bits=16, data=_IMA_STEREO.data[:1024]).wav(), 1010, 2),
    "MS ADPCM of zeros": (_MS.but(data=bytes(512)).wav(), 1000, 1),
    "MS ADPCM in the smallest blocks": (_MS.but(block_align=7, samples_per_block=2, data=bytes(7 * 100)).wav(), 200, 1),
    "MS ADPCM without coefficients": (
        _MS.but(coefficient_count=0, coefficients=b"", data=_MS.data[:512]).wav(),
        1000,
        1,
    ),
    "stereo MS ADPCM that ends in a block": (_MS_STEREO.but(data=_MS_STEREO.data[:527]).wav(), 503, 2),
    "fact of a sample": (_GSM.but(data=_GSM.data[:65], fact=1).wav(), 1, 1),
    "fact of far more samples": (_GSM.but(data=_GSM.data[:650], fact=10**6).wav(), 3200, 1),
    "fact of far fewer samples": (_GSM.but(data=_GSM.data[:650], fact=100).wav(), 3200, 1),
}
