"""Builds the command that runs ffmpeg for one encode, within limits on what it may use."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import ffmpeg

from service.audio.mp3 import Mp3Format
from service.audio.starting import Command
from service.audio.wav_header import WavHeader

# The limit on CPU time is the longest duration, but at least this. One core encodes 100 s of sound in a second, so an
# ffmpeg that reaches the limit is stuck.
_LEAST_CPU_SECONDS = 60
_TAG_HEADER_BYTES = 10
_FILE_SIZE_HEADROOM = 2**20
_MOST_SURPLUS_BLOCKS = 5
# The largest ffmpeg known, with its libraries and the stacks of its threads, takes half of it.
_ADDRESS_SPACE = 2 * 2**30

_Options = tuple[tuple[str, str | int], ...]

_PROGRAMS = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/nix/store")))

# The channel masks that ffmpeg can mix down to stereo, by channel count. The first one replaces any other mask.
_CHANNEL_MASKS = {
    3: (0x7, 0xB, 0x103),
    4: (0x107, 0x33, 0x603, 0xF),
    5: (0x37, 0x607, 0x10F),
    6: (0x3F, 0x60F, 0x707),
    7: (0x70F, 0x637, 0x13F),
    8: (0x63F, 0xFF),
}


def readable_by(executable: str) -> tuple[Path, ...]:
    """Return the places that ffmpeg, and what starts it, may read from: programs and their libraries."""
    program = Path(executable)
    own = {place for path in (program, program.resolve()) for place in (path.parent, path.parent.parent / "lib")}
    return (*_PROGRAMS, *sorted(own))


@dataclass(frozen=True, slots=True)
class Output:
    """What ffmpeg is to write: an MP3 of this format, behind room for an ID3 tag of `tag_byte_count`, at least 20.

    The descriptor `sound`, if there is one, gets what ffmpeg decodes, as raw 16-bit samples.
    """

    target: Mp3Format
    tag_byte_count: int
    sound: int | None = None


def encode_command(executable: str, source: WavHeader, output: Output, max_duration_seconds: int) -> Command:
    """Return the command that reads samples from stdin and writes the MP3 to the file that is its stdout.

    The samples are raw, or blocks behind a WAV header of ours.
    """
    # The last block is filled up, and silence follows in blocks.
    seconds = max_duration_seconds + _MOST_SURPLUS_BLOCKS * source.samples_per_block // source.sample_rate
    file_size = seconds * output.target.bit_rate // 8 + _FILE_SIZE_HEADROOM
    # At a soft limit on CPU time below the hard one, ffmpeg would end normally and leave a short MP3 that looks whole.
    limits = {
        "cpu": max(_LEAST_CPU_SECONDS, max_duration_seconds),
        "fsize": file_size,
        "nofile": 64,
        "core": 0,
        "as": _ADDRESS_SPACE,
    }
    arguments = _ffmpeg_arguments(executable, _input(source), _conversion(source, output.target), output, seconds)
    return Command(arguments, tuple(limits.items()))


@lru_cache(maxsize=256)  # ffmpeg-python takes as long as a statement, and most WAVs are of a few kinds
def _ffmpeg_arguments(
    executable: str, given: _Options, conversion: _Options, output: Output, seconds: int
) -> tuple[str, ...]:
    target = output.target
    stream = ffmpeg.input("pipe:0", protocol_whitelist="pipe", probesize=32, analyzeduration=0, **dict(given))["a:0"]
    mp3 = stream.output(
        # ffmpeg opens the draft again by this name, so it can seek in it to write the Info header. Not /dev/stdout: if
        # that is missing, ffmpeg creates a file of that name and reports success.
        "file:/proc/self/fd/1",
        format="mp3",
        acodec="libmp3lame",
        audio_bitrate=target.bit_rate,
        ac=target.channels,
        map_metadata=-1,
        # We write the tag, so that no word of a client is in this command. Without ffmpeg's version, the room for it
        # and the Info frame are the same whichever ffmpeg encodes.
        fflags="+bitexact",
        metadata_header_padding=output.tag_byte_count - _TAG_HEADER_BYTES,
        threads=1,
        t=seconds + 1,
        flush_packets=1,  # makes a full disk an error instead of a short file, and lets listeners have each frame
        **dict(conversion),
    )
    if output.sound is None:
        outputs = mp3
    else:
        outputs = ffmpeg.merge_outputs(mp3, stream.output(f"pipe:{output.sound}", format="s16le", acodec="pcm_s16le"))
    quiet = outputs.global_args("-hide_banner", "-nostdin", "-nostats", "-v", "error")
    return tuple(str(part) for part in quiet.compile(cmd=executable, overwrite_output=True))


def _input(source: WavHeader) -> _Options:
    """Return the options that say what stdin brings."""
    if source.block_codec is not None:  # only ffmpeg's WAV demuxer cuts these into blocks; the header is ours
        return ("format", "wav"), ("format_whitelist", "wav"), ("codec_whitelist", source.codec)
    return (
        ("format", source.codec),
        ("format_whitelist", source.codec),
        ("codec_whitelist", f"pcm_{source.codec}"),
        ("ar", source.sample_rate),
        ("ch_layout", _channel_layout(source)),
    )


def _conversion(source: WavHeader, target: Mp3Format) -> _Options:
    """Return the options that change the sample rate, and those that mix the channels down.

    The mix does not clip.

    ffmpeg knows how to mix up to eight channels by their speakers. More than eight are the tracks of a field recorder
    or an array of microphones: the first, third and so on go to the left, the others to the right, in equal parts.
    """
    resampling = (("ar", target.sample_rate),) if source.sample_rate != target.sample_rate else ()
    if source.channels <= target.channels:
        return resampling
    if source.channels in _CHANNEL_MASKS:
        # Without this limit, ffmpeg mixes float samples louder than integer ones, and they clip.
        return (*resampling, ("rematrix_maxval", 1))
    sides = (range(side, source.channels, 2) for side in (0, 1))
    mixes = ("+".join(f"{1 / len(side):.9f}*c{channel}" for channel in side) for side in sides)
    return (*resampling, ("af", "|".join(["pan=stereo", *(f"c{side}={mix}" for side, mix in enumerate(mixes))])))


def _channel_layout(source: WavHeader) -> str:
    if source.channels in _CHANNEL_MASKS:
        known = _CHANNEL_MASKS[source.channels]
        return hex(source.channel_mask if source.channel_mask in known else known[0])
    # With one or two channels the mask is ignored: ffmpeg would play a single "front left" 3 dB too quiet. With more
    # than eight, ffmpeg takes them by number.
    return {1: "mono", 2: "stereo"}.get(source.channels, f"{source.channels}C")
