"""Builds the command line of one encode: ffmpeg inside its limits, told nothing but numbers that we checked."""

import shutil
from functools import cache
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from service.audio.mp3 import Mp3Format
from service.audio.wav_header import WavHeader

# One core encodes a hundred seconds of sound in one; what needs more CPU than the sound is long is stuck.
_LEAST_CPU_SECONDS = 60
_FILE_SIZE_HEADROOM = 2**20
# The largest ffmpeg known, with its libraries and the stacks of its threads, takes half of it.
_ADDRESS_SPACE = 2 * 2**30

_PROGRAMS = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/nix/store")))

# The channel masks that ffmpeg mixes down to stereo, by channel count; the first stands in for any other.
_CHANNEL_MASKS = {
    3: (0x7, 0xB, 0x103),
    4: (0x107, 0x33, 0x603, 0xF),
    5: (0x37, 0x607, 0x10F),
    6: (0x3F, 0x60F, 0x707),
    7: (0x70F, 0x637, 0x13F),
    8: (0x63F, 0xFF),
}


def bundled_ffmpeg() -> str:
    """Return the static ffmpeg of the imageio-ffmpeg wheel, which starts four times faster than Debian's.

    Raises RuntimeError where the wheel has none for this platform.
    """
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def readable_by(executable: str) -> tuple[Path, ...]:
    """Return the places that ffmpeg, and what starts it, may read from: programs and their libraries."""
    program = Path(executable)
    own = {place for path in (program, program.resolve()) for place in (path.parent, path.parent.parent / "lib")}
    return (*_PROGRAMS, *sorted(own))


def encode_command(executable: str, source: WavHeader, target: Mp3Format, max_duration_seconds: int) -> list[str]:
    """Return the whole command: raw samples at stdin, the MP3 into the file that is stdout.

    Raises FileNotFoundError where util-linux is not installed.
    """
    file_size = max_duration_seconds * target.bit_rate // 8 + _FILE_SIZE_HEADROOM
    return [
        *_sandbox(max(_LEAST_CPU_SECONDS, max_duration_seconds), file_size),
        *_ffmpeg_arguments(executable, source, target, max_duration_seconds),
    ]


def _sandbox(cpu_seconds: int, file_size: int) -> list[str]:
    """Limit CPU time, file size and descriptors, gain no privilege, die with the service. Each part execs the next."""
    # A soft CPU limit below the hard one would end ffmpeg in good order, with a short MP3 that looks whole.
    limits = [f"--cpu={cpu_seconds}:{cpu_seconds}", f"--fsize={file_size}", "--nofile=64", "--core=0"]
    limits.append(f"--as={_ADDRESS_SPACE}")
    privileges = ["--no-new-privs", "--pdeathsig", "KILL"]
    return [_tool("prlimit"), *limits, "--", _tool("setpriv"), *privileges, "--"]


@cache
def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed; it belongs to util-linux")
    return path


def _ffmpeg_arguments(executable: str, source: WavHeader, target: Mp3Format, max_duration_seconds: int) -> list[str]:
    stream = ffmpeg.input(
        "pipe:0",
        format=source.codec,
        protocol_whitelist="pipe",
        format_whitelist=source.codec,
        codec_whitelist=f"pcm_{source.codec}",
        probesize=32,
        analyzeduration=0,
        ar=source.sample_rate,
        ch_layout=_channel_layout(source),
    )["a:0"]
    # Without the limit a float mix comes out louder than an integer one, and clips.
    mix = {"rematrix_maxval": 1} if source.channels > target.channels else {}
    resample = {"ar": target.sample_rate} if source.sample_rate != target.sample_rate else {}
    output = stream.output(
        # Opened again by its name in /proc the draft can be sought in, so that the Info header gets written. Not
        # /dev/stdout: where that is missing, ffmpeg makes a file of that name and reports success.
        "file:/proc/self/fd/1",
        format="mp3",
        acodec="libmp3lame",
        audio_bitrate=target.bit_rate,
        ac=target.channels,
        map_metadata=-1,
        threads=1,
        t=max_duration_seconds + 1,
        flush_packets=1,  # makes a full disk an error instead of a short file
        **mix,
        **resample,
    )
    quiet = output.global_args("-hide_banner", "-nostdin", "-nostats", "-v", "error")
    return [str(part) for part in quiet.compile(cmd=executable, overwrite_output=True)]


def _channel_layout(source: WavHeader) -> str:
    # Mono and stereo are taken as such whatever the mask says: "front left" alone is no reason to lose 3 dB.
    if source.channels not in _CHANNEL_MASKS:
        return "mono" if source.channels == 1 else "stereo"
    known = _CHANNEL_MASKS[source.channels]
    return hex(source.channel_mask if source.channel_mask in known else known[0])
