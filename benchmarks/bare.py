"""Runs bare ffmpeg on a WAV file, with the service's settings, to compare the service with it."""

import os
from pathlib import Path

_NICENESS = 10  # the service's own


def encode(ffmpeg: str, wav: Path, mp3: Path) -> float:
    """Encode a file and return the CPU time that it took in seconds. Raises RuntimeError if that fails."""
    source = "-hide_banner -nostdin -nostats -v error -f wav -i"
    target = "-map 0:a:0 -map_metadata -1 -threads 1 -c:a libmp3lame -b:a 128000 -ac 2 -flush_packets 1 -f mp3 -y"
    arguments = [ffmpeg, *source.split(), str(wav), *target.split(), str(mp3)]
    pid = os.posix_spawn(ffmpeg, arguments, {}, setpgroup=0)
    os.setpriority(os.PRIO_PROCESS, pid, _NICENESS)
    _, status, usage = os.wait4(pid, 0)  # not for ru_maxrss: a spawned process starts with its parent's
    if status != 0:
        raise RuntimeError(f"bare ffmpeg failed on {wav} with status {status}")
    return usage.ru_utime + usage.ru_stime
