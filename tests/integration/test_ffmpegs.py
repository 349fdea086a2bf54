"""Every ffmpeg of this machine runs every command of the service; our own writes what Debian's does, on any CPU."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.audio import mp3
from service.audio.confinement import Confinement
from service.audio.encoder import Encoder, mp3_tag
from service.audio.ffmpeg_command import readable_by
from service.audio.ffmpegs import SYSTEM, Ffmpeg, NoFfmpegError, default_ffmpeg, find_ffmpegs, own_build
from service.audio.mp3 import Mp3Format
from service.audio.spawner import Spawner
from service.audio.wav import WavReader
from tests.support.ffmpegs import decoder, every_ffmpeg, require_own_and_debians
from tests.support.mp3s import info_header
from tests.support.waiting import wait_until
from tests.support.wavs import ALAW, CHANNEL_MASKS, F32, F64, MULAW, S16, S24, S32, U8, SampleFormat, chirp, wav

BUILD = Path(__file__).parents[2] / "tools" / "build-ffmpeg.sh"


@dataclass(frozen=True)
class Shape:
    """What decides about a command: the WAV's format, and the MP3's."""

    sample_format: SampleFormat = S16
    sample_rate: int = 44_100
    channels: int = 2
    channel_mask: int | None = None
    bit_rate: int = 128_000

    def wav(self) -> bytes:
        samples = chirp(self.sample_rate // 2, self.sample_rate, self.channels)
        options: Any = {} if self.channel_mask is None else {"extensible": True, "channel_mask": self.channel_mask}
        return wav(
            samples,
            sample_rate=self.sample_rate,
            channels=self.channels,
            sample_format=self.sample_format,
            **options,
        )

    def target(self) -> Mp3Format:
        rate = mp3.output_rate(self.sample_rate)
        return Mp3Format(rate, min(self.channels, 2), min(self.bit_rate, mp3.bit_rates(rate)[-1]))


SHAPES = [
    *(Shape(each, channels=channels) for each in (U8, S16, S24, S32, F32, F64, ALAW, MULAW) for channels in (1, 2)),
    *(Shape(sample_rate=rate, channels=1) for rate in (1_000, 8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 48_000)),
    *(Shape(each, rate) for each in (S16, S24, F32) for rate in (5_512, 37_800, 88_200, 96_000, 192_000, 768_000)),
    *(Shape(each, 48_000, count) for each in (S16, F32) for count in (3, 4, 5, 6, 7, 8, 9, 17, 32)),
    *(Shape(S24, 96_000, count) for count in (6, 9)),
    *(Shape(channels=count, channel_mask=CHANNEL_MASKS[count]) for count in range(1, 9)),
    *(
        Shape(channels=count, channel_mask=mask)
        for count, mask in ((1, 1), (2, 0x30), (4, 0x33), (6, 0x60F), (8, 0xFF))
    ),
    *(Shape(bit_rate=bit_rate) for bit_rate in (32_000, 64_000, 192_000, 320_000)),
]


async def encode(ffmpeg: str, shape: Shape, directory: Path) -> bytes:
    """Encode the shape's WAV as the service does, and return the MP3."""
    spawner = Spawner(Confinement(readable_by(ffmpeg), (directory,)))
    reader = WavReader()
    samples = reader.feed(shape.wav())
    assert reader.header is not None
    encoder = Encoder(ffmpeg, max_duration_seconds=3600, stall_seconds=50, spawner=spawner)
    with tempfile.TemporaryFile(dir=directory) as draft:
        async with encoder.open(
            reader.header, shape.target(), draft.fileno(), mp3_tag(reader.header, "talk.wav")
        ) as encoding:
            await encoding.write(samples)
            await encoding.write(reader.finish())
            await encoding.finish(reader.sample_count)
        return os.pread(draft.fileno(), os.fstat(draft.fileno()).st_size, 0)


@every_ffmpeg
@pytest.mark.timeout(300)
async def test_every_ffmpeg_runs_every_command(ffmpeg: str, tmp_path: Path) -> None:
    for shape in SHAPES:
        info = info_header(await encode(ffmpeg, shape, tmp_path))
        heard = mp3.resampled_count(shape.sample_rate // 2, shape.sample_rate, mp3.output_rate(shape.sample_rate))
        assert info.sample_count == max(heard, 47), shape


@pytest.mark.timeout(300)
async def test_our_own_build_writes_what_debians_does(tmp_path: Path) -> None:
    own, debians = require_own_and_debians()
    for shape in SHAPES:
        assert await encode(own, shape, tmp_path) == await encode(debians, shape, tmp_path), shape


@pytest.mark.parametrize("codec", ["adpcm_ms", "adpcm_ima_wav", "gsm_ms"])
def test_our_own_build_decodes_what_debians_does(tmp_path: Path, codec: str) -> None:
    own, debians = require_own_and_debians()
    source = tmp_path / "source.wav"
    source.write_bytes(wav(chirp(40_000, 8_000, 1), sample_rate=8_000, channels=1))
    packed = subprocess.run(
        [debians, "-v", "error", "-i", source, "-c:a", codec, "-f", "wav", "pipe:1"], capture_output=True, check=True
    ).stdout
    options = ["-format_whitelist", "wav", "-codec_whitelist", codec, "-f", "wav", "-i", "pipe:0"]
    found = []
    for ffmpeg in (own, debians):
        target = tmp_path / "target.mp3"
        command = [ffmpeg, "-v", "error", *options, "-ar", "24000", "-b:a", "64000", "-f", "mp3", "-y", str(target)]
        subprocess.run(command, input=packed, check=True)
        found.append(target.read_bytes())
    assert len(found[0]) > 20_000
    assert found[0] == found[1]


# The oldest one that qemu has, and one for each variant of LAME, with the variant that it must take.
CPUS = {"qemu64": "lib/libmp3lame", "Nehalem": "x86-64-v2/libmp3lame", "Haswell": "x86-64-v3/libmp3lame"}


@pytest.mark.parametrize("cpu", CPUS)
def test_each_cpu_runs_the_best_lame_that_it_can(tmp_path: Path, cpu: str) -> None:
    qemu = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if qemu is None:
        pytest.skip("there is no qemu-x86_64, which imitates old CPUs: apt install qemu-user")
    own = require_own_build("x86_64")
    source, target = tmp_path / "source.wav", tmp_path / "target.mp3"
    source.write_bytes(wav(chirp(4_410, 44_100, 1), sample_rate=44_100, channels=1))
    options = ["-v", "error", "-f", "wav", "-i", str(source), "-f", "mp3", "-y", str(target)]
    subprocess.run([own, *options], check=True)
    right = target.read_bytes()
    emulated = subprocess.run(
        [qemu, "-cpu", cpu, "-E", "LD_DEBUG=libs", own, *options], capture_output=True, text=True, check=False
    )
    assert emulated.returncode == 0, f"signal {-emulated.returncode}"
    assert target.read_bytes() == right
    (loaded,) = [line for line in emulated.stderr.splitlines() if "calling init" in line and "libmp3lame" in line]
    assert CPUS[cpu] in loaded


def require_own_build(machine: str) -> str:
    if not own_build().is_file() or os.uname().machine != machine:
        pytest.skip(f"there is no ffmpeg of our own for {machine}: make ffmpeg")
    return str(own_build())


def test_our_own_build_has_its_licences_and_names_its_sources() -> None:
    own = Path(require_own_build(os.uname().machine))
    documents = own.parents[1] / "share" / "doc"
    assert "GNU Lesser General Public" in subprocess.run([own, "-L"], capture_output=True, text=True, check=True).stdout
    for name in (
        "ffmpeg/COPYING.LGPLv2.1",
        "ffmpeg/copyright",
        "lame/COPYING",
        "lame/copyright",
        "ffmpeg/COPYING.GPLv2",
    ):
        assert (documents / name).stat().st_size > 5_000, name
    sources = (documents / "SOURCES").read_text(encoding="utf-8")
    assert "ffmpeg_5.1." in sources
    assert "lame_3.100" in sources


def test_own_build_comes_first_and_the_path_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpegs()[-1] == Ffmpeg(str(tmp_path / "ffmpeg"), SYSTEM)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert own_build() == tmp_path / "ffmpeg" / "bin" / "ffmpeg"
    assert default_ffmpeg().path != str(own_build())
    (tmp_path / "ffmpeg").unlink()
    own_build().parent.mkdir(parents=True)
    own_build().touch(mode=0o755)
    assert default_ffmpeg() == find_ffmpegs()[0]
    assert default_ffmpeg().path == str(own_build())


def test_machine_without_any_ffmpeg_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    assert find_ffmpegs() == []
    with pytest.raises(NoFfmpegError, match="make ffmpeg"):
        default_ffmpeg()


def test_oracle_is_not_what_is_tested() -> None:
    assert decoder() != str(own_build())


def build(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the build script, which must not get as far as fetching anything."""
    return subprocess.run(
        [BUILD, directory / "ffmpeg"],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(directory)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_without_apt_says_what_it_needs(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "mkdir", "dirname", "basename"):
        (tools / name).symlink_to(shutil.which(name) or name)
    result = build(tmp_path, PATH=str(tools))
    assert (result.returncode, result.stderr) == (1, "There is no apt-get: this needs Debian or Ubuntu.\n")


def test_build_takes_nothing_that_debian_has_not_signed(tmp_path: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-source") and shutil.which("nasm")):
        pytest.skip("apt-get, dpkg-source or nasm is not there")
    release = tmp_path / "mirror" / "dists" / "bookworm" / "Release"
    release.parent.mkdir(parents=True)
    release.write_text("Origin: Debian\nSuite: oldstable\nCodename: bookworm\nComponents: main\nSHA256:\n")
    mirror = f"file:{tmp_path}/mirror"
    result = build(tmp_path, DEBIAN_MIRROR=mirror, DEBIAN_SECURITY_MIRROR=mirror)
    assert result.returncode != 0
    assert "is not signed" in result.stderr
    assert not (tmp_path / "ffmpeg").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_build_that_is_interrupted_says_only_that(tmp_path: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-source") and shutil.which("nasm")):
        pytest.skip("apt-get, dpkg-source or nasm is not there")
    tools = tmp_path / "bin"
    tools.mkdir()
    apt = tools / "apt-get"  # hangs as it fetches the list of sources
    apt.write_text(f"""#!/bin/sh
        case $* in *update*) echo checking; touch {tmp_path}/begun; exec sleep 60 ;; esac
        exec {shutil.which("apt-get")} "$@"
    """)
    apt.chmod(0o755)
    with subprocess.Popen(
        ["/usr/bin/env", "--default-signal=INT", BUILD, tmp_path / "ffmpeg"],
        env={"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until((tmp_path / "begun").exists)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "Stopped: nothing was installed.\n")
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "bin"}
