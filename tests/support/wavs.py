"""WAV files of every kind, honest and hostile, built as bytes."""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Required, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]
Codes = npt.NDArray[np.number[Any]]
ByteOrder = Literal["<", ">"]
Container = Literal["RIFF", "RIFX", "RF64", "BW64"]

UNKNOWN_SIZE = 0xFFFF_FFFF
EXTENSIBLE_TAG = 0xFFFE
# The tail of every KSDATAFORMAT_SUBTYPE GUID; the format tag comes before it.
GUID_TAIL = b"\x80\x00\x00\xaa\x00\x38\x9b\x71"

# The layouts that ffmpeg assumes for a plain header, so that a plain and an extensible WAV are mixed down the same:
# 1.0, 2.0, 2.1, 4.0 (with a back centre), 5.0, 5.1, 6.1, 7.1.
CHANNEL_MASKS = {1: 0x4, 2: 0x3, 3: 0xB, 4: 0x107, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}


def chirp(sample_count: int, sample_rate: int, channels: int, amplitude: float = 0.5, seed: int = 1) -> Samples:
    """Return one sweep per channel, in the shape (sample_count, channels), peaks at `amplitude`.

    Neighbouring channels sweep in opposite directions, and each pair over its own range, so swapped
    channels do not correlate. All stay between 3 kHz and 200 Hz (at low rates between 0.35 and 0.02
    of the rate); there an MP3 of 128 kbit/s, or 64 kbit/s at 8 kHz, keeps a correlation of 0.99.
    """
    top = min(3000.0, 0.35 * sample_rate)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, channels)
    progress = np.arange(sample_count) / max(sample_count, 1)
    sweeps = np.empty((sample_count, channels))
    for channel, phase in enumerate(phases):
        start, stop = top / 15, top * (1 - 0.15 * (channel // 2 % 4))
        if channel % 2:
            start, stop = stop, start
        cycles = (start + (stop - start) * progress / 2) * progress * sample_count / sample_rate
        sweeps[:, channel] = amplitude * np.sin(2 * np.pi * cycles + phase)
    return sweeps


@dataclass(frozen=True)
class SampleFormat:
    """How one sample is written: the format tag and bits of the header, and the codes themselves."""

    name: str
    format_tag: int
    bits: int
    quantise: Callable[[Samples], Codes]

    def encode(self, samples: Samples, byte_order: ByteOrder = "<") -> bytes:
        """Return the samples, -1 to 1, as the payload of a data chunk.

        Samples out of range are clipped, except in the float formats, which keep them as they are (NaN too).
        """
        codes = self.quantise(np.asarray(samples, dtype=np.float64))
        encoded = codes.astype(codes.dtype.newbyteorder(byte_order)).tobytes()
        return encoded if self.bits != 24 else _without_padding(encoded, byte_order)

    def __str__(self) -> str:
        return self.name


def _without_padding(encoded: bytes, byte_order: ByteOrder) -> bytes:
    """Cut 32 bit codes down to their low 24 bits."""
    words = np.frombuffer(encoded, np.uint8).reshape(-1, 4)
    return (words[:, :3] if byte_order == "<" else words[:, 1:]).tobytes()


def _integers(bits: int, dtype: type[np.int16 | np.int32]) -> Callable[[Samples], Codes]:
    full_scale = 2 ** (bits - 1)

    def quantise(samples: Samples) -> Codes:
        clipped: Samples = np.clip(np.rint(samples * full_scale), -full_scale, full_scale - 1)
        return clipped.astype(dtype)

    return quantise


_to_s8, _to_s16 = _integers(8, np.int16), _integers(16, np.int16)


def _u8(samples: Samples) -> Codes:
    return (_to_s8(samples) + 128).astype(np.uint8)


def _mulaw(samples: Samples) -> Codes:
    """G.711: sign, three bits of exponent, four of mantissa, all inverted."""
    linear = _to_s16(samples).astype(np.int32)
    magnitude = np.minimum(np.abs(linear), 32635) + 132
    exponent = _bit_lengths(magnitude) - 8
    mantissa = magnitude >> (exponent + 3) & 0xF
    return ~((linear < 0) << 7 | exponent << 4 | mantissa).astype(np.uint8)


def _alaw(samples: Samples) -> Codes:
    """G.711: as mu-law, but linear in the lowest segment, and only the even bits inverted."""
    linear = _to_s16(samples).astype(np.int32)
    magnitude = (linear ^ linear >> 31) >> 4
    exponent = (_bit_lengths(magnitude) - 4).clip(0)
    mantissa = magnitude >> (exponent - 1).clip(0) & 0xF
    codes: npt.NDArray[np.uint8] = (((linear >= 0) << 7 | exponent << 4 | mantissa) ^ 0x55).astype(np.uint8)
    return codes


def _bit_lengths(magnitudes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    exponents: npt.NDArray[np.int32] = np.frexp(magnitudes)[1]
    return exponents


U8 = SampleFormat("u8", 1, 8, _u8)
S16 = SampleFormat("s16", 1, 16, _to_s16)
S24 = SampleFormat("s24", 1, 24, _integers(24, np.int32))
S32 = SampleFormat("s32", 1, 32, _integers(32, np.int32))
F32 = SampleFormat("f32", 3, 32, lambda samples: samples.astype(np.float32))
F64 = SampleFormat("f64", 3, 64, lambda samples: samples)
ALAW = SampleFormat("alaw", 6, 8, _alaw)
MULAW = SampleFormat("mulaw", 7, 8, _mulaw)
SAMPLE_FORMATS = (U8, S16, S24, S32, F32, F64, ALAW, MULAW)


class Layout(TypedDict, total=False):
    """What a header says; only `sample_rate` and `channels` are required.

    Fields of the fmt chunk that are not given follow from the others, so a test names only the wrong ones.
    """

    sample_rate: Required[int]
    channels: Required[int]
    sample_format: SampleFormat  # S16
    container: Container  # "RIFF"
    before: Sequence[bytes]  # chunks between fmt and data, made by `chunk`
    after: Sequence[bytes]  # chunks after the data
    riff_size: int  # the true size; in RF64 and BW64 it is UNKNOWN_SIZE, because their ds64 has the true one
    data_size: int  # the same
    ds64: bytes  # the right `ds64_chunk` in RF64 and BW64, otherwise none
    fmt: bytes  # the right `fmt_chunk`
    extensible: bool  # False
    channel_mask: int  # extensible: that of CHANNEL_MASKS
    valid_bits: int  # extensible: all bits
    sub_format_tag: int  # extensible: that of the sample format
    format_tag: int
    byte_rate: int
    block_align: int
    bits: int
    fmt_extra: bytes  # raw bytes at the end of the fmt chunk


def byte_order_of(layout: Layout) -> ByteOrder:
    """Return the struct prefix of the container's byte order."""
    return ">" if layout.get("container") == "RIFX" else "<"


def chunk(
    chunk_id: bytes,
    payload: bytes,
    *,
    declared: int | None = None,
    pad: bool = True,
    byte_order: ByteOrder = "<",
) -> bytes:
    """Return a chunk that declares its true size, or `declared`, padded to an even length."""
    size = len(payload) if declared is None else declared
    return chunk_id + struct.pack(byte_order + "I", size) + payload + bytes(pad and len(payload) % 2)


def ds64_chunk(riff_size: int, data_size: int, sample_count: int) -> bytes:
    """Return the chunk that holds the 64 bit sizes of RF64 and BW64, with an empty table."""
    return chunk(b"ds64", struct.pack("<QQQI", riff_size, data_size, sample_count, 0))


def fmt_chunk(**layout: Unpack[Layout]) -> bytes:
    """Return the fmt chunk of that layout, in which every field can be wrong.

    16 bytes for plain PCM, 18 for the other plain formats, 40 if extensible; then `fmt_extra`.
    Fields that do not concern the fmt chunk are ignored.
    """
    order = byte_order_of(layout)
    sample_format = layout.get("sample_format", S16)
    extensible = layout.get("extensible", False)
    block_align = layout.get("block_align", _block_align(layout))
    fields = struct.pack(
        order + "HHIIHH",
        layout.get("format_tag", EXTENSIBLE_TAG if extensible else sample_format.format_tag),
        layout["channels"],
        layout["sample_rate"],
        layout.get("byte_rate", layout["sample_rate"] * block_align % 2**32),
        block_align,
        layout.get("bits", sample_format.bits),
    )
    if extensible:
        fields += _extension(layout)
    elif sample_format.format_tag != S16.format_tag:
        fields += struct.pack(order + "H", 0)
    return chunk(b"fmt ", fields + layout.get("fmt_extra", b""), byte_order=order)


def _block_align(layout: Layout) -> int:
    return layout["channels"] * layout.get("sample_format", S16).bits // 8 % 2**16


def _extension(layout: Layout) -> bytes:
    """Return what WAVEFORMATEXTENSIBLE adds: its size, valid bits, channel mask and GUID."""
    sample_format = layout.get("sample_format", S16)
    fields = struct.pack(
        byte_order_of(layout) + "HHIIHH",
        22,
        layout.get("valid_bits", sample_format.bits),
        layout.get("channel_mask", CHANNEL_MASKS.get(layout["channels"], 0)),
        layout.get("sub_format_tag", sample_format.format_tag),
        0x0000,
        0x0010,
    )
    return fields + GUID_TAIL


def header(byte_count: int, **layout: Unpack[Layout]) -> bytes:
    """Return everything before `byte_count` bytes of audio, including the data chunk's own 8 bytes.

    A plain RIFF declares sizes that exceed 32 bits as unknown.
    """
    container = layout.get("container", "RIFF")
    largest = 0 if container in {"RF64", "BW64"} else UNKNOWN_SIZE - 1
    chunks = _leading_chunks(byte_count, layout)
    riff_size = 4 + len(chunks) + 8 + byte_count + len(_trailer(byte_count, layout))
    declared_riff_size = layout.get("riff_size", riff_size if riff_size <= largest else UNKNOWN_SIZE)
    declared_data_size = layout.get("data_size", byte_count if byte_count <= largest else UNKNOWN_SIZE)
    order = byte_order_of(layout)
    return b"".join(
        [
            container.encode() + struct.pack(order + "I", declared_riff_size) + b"WAVE",
            chunks,
            b"data" + struct.pack(order + "I", declared_data_size),
        ]
    )


def _leading_chunks(byte_count: int, layout: Layout) -> bytes:
    """Return the chunks between WAVE and data: ds64 if any, fmt, and the layout's own chunks."""
    chunks = b"".join([layout.get("fmt", fmt_chunk(**layout)), *layout.get("before", ())])
    if layout.get("container") not in {"RF64", "BW64"}:
        return layout.get("ds64", b"") + chunks
    riff_size = 4 + 36 + len(chunks) + 8 + byte_count + len(_trailer(byte_count, layout))
    sample_count = byte_count // max(_block_align(layout), 1)
    return layout.get("ds64", ds64_chunk(riff_size, byte_count, sample_count)) + chunks


def wav(samples: Samples | bytes, **layout: Unpack[Layout]) -> bytes:
    """Return a whole WAV file; if `samples` are bytes, they are the payload of the data chunk."""
    if not isinstance(samples, bytes):
        samples = layout.get("sample_format", S16).encode(samples, byte_order_of(layout))
    return header(len(samples), **layout) + samples + _trailer(len(samples), layout)


def _trailer(byte_count: int, layout: Layout) -> bytes:
    return bytes(byte_count % 2) + b"".join(layout.get("after", ()))


def stream(byte_count: int, **layout: Unpack[Layout]) -> Iterator[bytes]:
    """Yield a WAV with `byte_count` bytes of audio in chunks of at most 64 KiB, and hold only one.

    The audio is the same short chirp over and over.
    """
    frame_count = max(65_536 // _block_align(layout), 1)
    audio = chirp(frame_count, layout["sample_rate"], layout["channels"])
    encoded = layout.get("sample_format", S16).encode(audio, byte_order_of(layout))
    yield header(byte_count, **layout)
    whole, rest = divmod(byte_count, len(encoded))
    for _ in range(whole):
        yield encoded
    yield encoded[:rest] + _trailer(byte_count, layout)


def info_chunk(**fields: bytes) -> bytes:
    """Return a LIST chunk of the type INFO with these fields, such as `INAM`, each with its NUL."""
    return chunk(b"LIST", b"INFO" + b"".join(chunk(name.encode(), raw + b"\0") for name, raw in fields.items()))


def bext_chunk(description: bytes = b"", originator: bytes = b"", date: bytes = b"") -> bytes:
    """Return a bext chunk of version 0 with these fields."""
    fields = (description, 256), (originator, 32), (b"", 32), (date, 10)
    text = b"".join(field[:size].ljust(size, b"\0") for field, size in fields)
    return chunk(b"bext", text + b"12:34:56" + bytes(8 + 2 + 254))
