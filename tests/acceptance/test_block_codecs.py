"""GSM 6.10 and ADPCM: every form of them becomes an MP3 that is exact to the sample, with every ffmpeg."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import mp3s, wavs
from tests.support.blocks import FORMS, GSM, IMA, MS, Blocks, Kind, decoded, of_chirp
from tests.support.client import TRANSPORTS, Account, Answer, Service, StartService, Transport
from tests.support.ffmpegs import FFMPEGS
from tests.support.mp3s import Floats
from tests.support.programs import output_of

# The default one, and Debian's, which is four years older.
every_form = pytest.mark.parametrize(("kind", "channels"), FORMS)
needs_sox = pytest.mark.skipif(shutil.which("sox") is None, reason="sox is not installed")

# An encoder's noise, which LAME at 64 kbit/s does not keep. Other channels, rates or blocks do not correlate at all.
LEAST_CORRELATION = 0.97


@pytest.fixture(params=FFMPEGS, ids=lambda path: Path(path).name)
async def service(start_service: StartService, request: pytest.FixtureRequest) -> Service:
    """A service with each of the ffmpegs."""
    return await start_service(ffmpeg=request.param)


async def download(service: Service, answer: Answer) -> bytes:
    assert answer.status == 201, answer
    mp3 = (await service.get(answer.json["url"])).body
    assert len(mp3) == answer.json["size"]
    assert mp3s.info_header(mp3).has_valid_crc
    return mp3


async def assert_taken(
    service: Service,
    account: Account,
    wav: bytes,
    source: Floats,
    rate: int,
    out_rate: int | None = None,
    **options: Any,
) -> Answer:
    """Fail unless the WAV becomes an MP3 with exactly the source's samples, which sounds like them."""
    params = {"sample_rate": str(out_rate)} if out_rate else None
    answer = await service.upload(account, wav, params=params, **options)
    mp3 = await download(service, answer)
    assert answer.json["duration"] == len(source) / rate
    assert answer.json["sample_rate"] == (out_rate or mp3s.output_rate(rate))
    heard = mp3s.expected_sample_count(len(source), rate, out_rate)
    assert len(await asyncio.to_thread(mp3s.decode, mp3)) == heard
    mp3s.assert_sounds_like(mp3, source, rate, out_rate=out_rate, least_correlation=LEAST_CORRELATION)
    return answer


def held(blocks: Blocks) -> Floats:
    """Return what all blocks hold, as libsndfile decodes it."""
    count = len(blocks.data) // blocks.block_align * (blocks.samples_per_block or 0)
    samples = decoded(blocks.wav())
    assert len(samples) in {count, count + 320}  # libsndfile plays a block of GSM too many
    return samples[:count]


async def sox_decodes(wav: bytes, channels: int) -> Floats:
    """Return what sox decodes."""
    process = await asyncio.create_subprocess_exec(
        *("sox", "-t", "wav", "-", "-t", "s16", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # it warns about headers of streams
    )
    output, _ = await process.communicate(wav)
    assert process.returncode == 0
    return np.frombuffer(output, "<i2").reshape(-1, channels) / 32768


@every_form
@pytest.mark.parametrize("rate", [8000, 1000, 6000, 11025, 16000, 22050, 44100, 96000])
async def test_every_codec_sounds_like_its_source_at_every_kind_of_rate(
    service: Service, account: Account, kind: Kind, channels: int, rate: int
) -> None:
    blocks = of_chirp(kind, channels, rate, sample_count=rate // 2 + 5000)
    answer = await assert_taken(service, account, blocks.wav(), held(blocks), rate)
    assert (answer.json["warnings"], answer.json["channels"]) == ([], channels)


@every_form
@pytest.mark.parametrize("out_rate", mp3s.MP3_RATES)
async def test_every_codec_is_resampled_to_every_rate(
    service: Service, account: Account, kind: Kind, channels: int, out_rate: int
) -> None:
    blocks = of_chirp(kind, channels)
    await assert_taken(service, account, blocks.wav(), held(blocks), 8000, out_rate)


@every_form
async def test_fact_chunk_says_where_the_sound_ends(
    service: Service, account: Account, kind: Kind, channels: int
) -> None:
    blocks = of_chirp(kind, channels)
    source = held(blocks)
    for count in (len(source) - 1, len(source) - (blocks.samples_per_block or 0) + 1):
        await assert_taken(service, account, blocks.but(fact=count).wav(), source[:count], 8000)
        await assert_taken(service, account, blocks.but(fact=count).wav(), source[:count], 8000, 44100)


@every_form
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_streamed_blocks_go_on_to_the_end(
    service: Service, account: Account, kind: Kind, channels: int, transport: Transport
) -> None:
    blocks = of_chirp(kind, channels, sample_count=60_000)
    streamed = blocks.but(data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF, fact=0)
    await assert_taken(service, account, streamed.head + blocks.data, held(blocks), 8000, transport=transport)


@needs_sox
@every_form
async def test_last_block_is_taken_as_far_as_sox_takes_it(
    service: Service, account: Account, kind: Kind, channels: int
) -> None:
    blocks = of_chirp(kind, channels)
    for missing in (1, 2, 5, blocks.block_align // 2, blocks.block_align - 9):
        short = blocks.but(data=blocks.data[:-missing]).wav()
        await assert_taken(service, account, short, await sox_decodes(short, channels), 8000)


@needs_sox
@pytest.mark.parametrize(("encoding", "channels"), [("gsm", 1), ("ima-adpcm", 1), ("ima-adpcm", 2), ("ms-adpcm", 2)])
async def test_what_sox_writes_is_taken_as_long_as_it_was(
    service: Service, account: Account, tmp_path: Path, encoding: str, channels: int
) -> None:
    source = wavs.chirp(12_345, 8000, channels)
    (tmp_path / "source.wav").write_bytes(wavs.wav(source, sample_rate=8000, channels=channels))
    await output_of("sox", str(tmp_path / "source.wav"), "-e", encoding, str(tmp_path / "packed.wav"))
    wav = (tmp_path / "packed.wav").read_bytes()
    packed = await sox_decodes(wav, channels)
    assert len(packed) >= 12_345
    answer = await assert_taken(service, account, wav, packed[:12_345], 8000)
    assert answer.json["warnings"] == []


@pytest.mark.skipif(len(FFMPEGS) == 1, reason="only one ffmpeg is installed")
@pytest.mark.parametrize(("encoder", "channels"), [("adpcm_ima_wav", 1), ("adpcm_ima_wav", 2), ("adpcm_ms", 2)])
async def test_what_ffmpeg_writes_into_a_pipe_is_taken(
    service: Service, account: Account, tmp_path: Path, encoder: str, channels: int
) -> None:
    source = wavs.chirp(12_345, 8000, channels)
    (tmp_path / "source.wav").write_bytes(wavs.wav(source, sample_rate=8000, channels=channels))
    process = await asyncio.create_subprocess_exec(
        *(FFMPEGS[-1], "-v", "error", "-i", str(tmp_path / "source.wav"), "-c:a", encoder, "-f", "wav", "pipe:1"),
        stdout=asyncio.subprocess.PIPE,
    )
    wav, _ = await process.communicate()
    packed = decoded(wav)
    await assert_taken(service, account, wav, packed, 8000, transport="chunked")


@every_form
async def test_shortest_sounds_of_blocks_survive(service: Service, account: Account, kind: Kind, channels: int) -> None:
    blocks = of_chirp(kind, channels)
    one = blocks.but(data=blocks.data[: blocks.block_align])
    for count in (1, 46, 200):
        for params in ({}, {"sample_rate": "44100"}):
            mp3 = await download(service, await service.upload(account, one.but(fact=count).wav(), params=params))
            heard = mp3s.expected_sample_count(count, 8000, int(params.get("sample_rate", 8000)))
            assert len(mp3s.decode(mp3)) == max(heard, 1 if params else 47)


@pytest.mark.parametrize(("kind", "channels", "block_align"), [(IMA, 1, 32_764), (IMA, 2, 65_528), (MS, 1, 32_773)])
@pytest.mark.parametrize("out_rate", [None, 48_000])
async def test_largest_blocks_are_cut_to_the_sample(
    service: Service, account: Account, kind: Kind, channels: int, block_align: int, out_rate: int | None
) -> None:
    """One block lasts 8 s, far beyond the padding that an MP3 can state."""
    head = {IMA: 4, MS: 7}[kind] * channels
    per_block = (block_align - head) * 2 // channels + {IMA: 1, MS: 2}[kind]
    silence = Blocks(kind, channels, 8000, block_align, bytes(2 * block_align), samples_per_block=per_block)
    for count in (per_block + 1, 2 * per_block - 1):
        params = {"sample_rate": str(out_rate)} if out_rate else {}
        answer = await service.upload(account, silence.but(fact=count).wav(), params=params)
        mp3 = await download(service, answer)
        heard = mp3s.expected_sample_count(count, 8000, out_rate)
        assert len(await asyncio.to_thread(mp3s.decode, mp3)) == heard
        info = mp3s.info_header(mp3)
        assert info.frame_count == -(-(heard + 1152) // info.samples_per_frame)


async def test_sound_as_long_as_is_allowed_may_end_anywhere_in_a_block(start_service: StartService) -> None:
    service = await start_service(max_duration_seconds=20)
    account = await service.create_user()
    silence = Blocks(IMA, 1, 8000, 65_532, bytes(2 * 65_532))  # 131,057 samples in a block, more than a header can say
    answer = await service.upload(account, silence.but(fact=160_000).wav(), params={"sample_rate": "44100"})
    assert len(mp3s.decode(await download(service, answer))) == 20 * 44_100
    answer = await service.upload(account, silence.but(fact=160_001).wav())
    assert (answer.status, answer.json["code"]) == (413, "too_long")


async def test_block_in_the_middle_that_decoders_guess_about_is_refused_and_leaves_nothing(
    service: Service, account: Account
) -> None:
    blocks = of_chirp(MS, 2, sample_count=60_000)
    place = 50 * blocks.block_align
    wav = blocks.but(data=blocks.data[:place] + b"\x07" + blocks.data[place + 1 :]).wav()
    answer = await service.upload(account, wav, transport="chunked")
    assert (answer.status, answer.json["code"]) == (422, "malformed_block")
    assert answer.json["offset"] == len(blocks.head) + place
    assert not service.files()


async def test_gsm_of_noise_is_taken(service: Service, account: Account) -> None:
    """Any bytes are GSM: a decoder can refuse none."""
    noise = np.random.default_rng(1).bytes(65 * 200)
    blocks = Blocks(GSM, 1, 8000, 65, noise, 0, samples_per_block=320)
    answer = await service.upload(account, blocks.wav())
    assert len(mp3s.decode(await download(service, answer))) == 64_000


@every_form
async def test_adpcm_of_noise_is_taken(service: Service, account: Account, kind: Kind, channels: int) -> None:
    """Whatever the samples are, only the heads of the blocks can be wrong."""
    blocks = of_chirp(kind, channels, sample_count=60_000)
    noise = bytearray(np.random.default_rng(2).bytes(len(blocks.data)))
    for place in [2, 6] if kind is IMA else [0, 1]:
        noise[place :: blocks.block_align] = bytes(len(noise) // blocks.block_align)
    noisy = blocks.but(data=bytes(noise))
    answer = await service.upload(account, noisy.wav())
    assert len(mp3s.decode(await download(service, answer), may_warn=True)) == len(held(blocks))
