"""An MP3 can be heard while its WAV is still being sent."""

import asyncio
import re
from typing import Any

import aiohttp
import numpy as np
import pytest
import structlog

from service.uploads.broadcast import Broadcast
from tests.support import wavs
from tests.support.blocks import KINDS, Kind, of_chirp
from tests.support.client import Account, Service, StartService, in_pieces
from tests.support.invariants import invariants_hold
from tests.support.listening import begin, listening, uploads
from tests.support.mp3s import decode, info_header
from tests.support.raw import connect
from tests.support.resumable import begun
from tests.support.waiting import until

SECONDS, RATE = 4, 44_100
NOISE = np.random.default_rng(7).uniform(-0.5, 0.5, (SECONDS * RATE, 2))
WAV = wavs.wav(NOISE, sample_rate=RATE, channels=2)
ENDLESS = wavs.wav(NOISE, sample_rate=RATE, channels=2, data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF)
HALF = len(WAV) // 2
# So many bytes of the MP3 come of half of the WAV: 32,000 less what ffmpeg and its pipe hold.
HEARD = 8_000


async def test_mp3_is_known_whole_while_half_of_it_is_there(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begin(service, account, WAV, until_byte=HALF)
        async with listening(service, upload.path) as listener:
            await listener.hears(HEARD)
            headers = listener.response.headers
            [looked] = await uploads(service, account)
            assert listener.response.status == 200
            assert int(headers["Content-Length"]) == looked["expected_size"]
            assert headers["Accept-Ranges"] == "bytes"
            assert info_header(bytes(listener.heard)).sample_count == SECONDS * RATE
            upload.paced.release()
            record = (await upload.answer).json
            assert await listener.all() == (await service.get(upload.path)).body
        assert record["size"] == looked["expected_size"]
        assert record["url"].endswith(upload.path)


async def test_what_is_not_final_is_kept_by_nobody(service: Service, account: Account) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF)
    live = await service.request("HEAD", upload.path)
    upload.paced.release()
    await upload.answer
    kept = await service.request("HEAD", upload.path)
    assert live.headers["Cache-Control"] == "no-store"
    for name in ("ETag", "Last-Modified", "Repr-Digest"):
        assert (name in live.headers, name in kept.headers) == (False, True)
    for name in ("Content-Type", "Content-Length", "Content-Disposition", "Access-Control-Allow-Origin"):
        assert live.headers[name] == kept.headers[name]
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"):
        assert live.headers[name] == kept.headers[name]


async def test_last_byte_comes_only_with_the_record(service: Service, account: Account) -> None:
    """Who has as many bytes as were announced takes them for the whole MP3."""
    upload = await begin(service, account, WAV, until_byte=len(WAV) - 1)
    async with listening(service, upload.path) as listener:
        size = int(listener.response.headers["Content-Length"])
        await listener.hears(size // 2)
        upload.answer.cancel()  # the client goes one byte before the end
        with pytest.raises(aiohttp.ClientPayloadError):
            await listener.all()
        assert len(listener.heard) < size
    assert (await service.get(upload.path)).status == 404


SHAPES: dict[str, dict[str, Any]] = {
    "mono": {"channels": 1},
    "stereo": {"channels": 2},
    "8 bit": {"channels": 1, "sample_format": wavs.U8},
    "24 bit": {"channels": 2, "sample_format": wavs.S24},
    "8 kHz": {"channels": 1, "sample_rate": 8_000},
    "resampled": {"channels": 2, "sample_rate": 96_000},
    "six channels": {"channels": 6},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "undeclared"])
async def test_listener_has_the_bytes_of_the_record(
    service: Service, account: Account, shape: str, *, is_declared: bool
) -> None:
    layout: dict[str, Any] = {"sample_rate": RATE} | SHAPES[shape]
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, (3 * layout["sample_rate"] + 77, layout["channels"]))
    unknown: dict[str, Any] = {} if is_declared else {"data_size": 0xFFFFFFFF, "riff_size": 0xFFFFFFFF}
    wav = wavs.wav(samples, **layout, **unknown)
    upload = await begin(service, account, wav, until_byte=len(wav) // 2, is_length_known=False)
    async with listening(service, upload.path) as listener:
        await listener.hears(2_000)
        upload.paced.release()
        await upload.answer
        heard, kept = await listener.all(), (await service.get(upload.path)).body
    if is_declared:
        assert heard == kept
    else:
        assert len(heard) == len(kept)
        place = info_header(kept).audio_offset
        assert heard[place:] == kept[place:]
        assert len(decode(heard, may_warn=True)) >= len(decode(kept))


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_listener_of_blocks_has_the_bytes_of_the_record(service: Service, account: Account, kind: Kind) -> None:
    wav = of_chirp(kind, 1, 8_000, 70_000).wav()
    upload = await begin(service, account, wav, until_byte=len(wav) // 2)
    async with listening(service, upload.path) as listener:
        await listener.hears(500)
        upload.paced.release()
        assert (await upload.answer).status == 201
        assert await listener.all() == (await service.get(upload.path)).body


async def test_mp3_of_unknown_length_is_endless_until_its_upload_ends(service: Service, account: Account) -> None:
    upload = await begin(service, account, ENDLESS, until_byte=HALF, is_length_known=False)
    async with listening(service, upload.path, headers={"Range": "bytes=100-"}) as listener:
        await listener.hears(HEARD)
        assert listener.response.status == 200
        assert listener.response.headers["Accept-Ranges"] == "none"
        assert "Content-Length" not in listener.response.headers
        [looked] = await uploads(service, account)
        assert (looked["expected_size"], looked["expected_duration"]) == (None, None)
        with structlog.testing.capture_logs() as events:
            upload.paced.release()
            await upload.answer
            heard = await listener.all()
            await until(lambda: len(events) == 2)  # the upload's line and the listener's
        assert [event["bytes_out"] for event in events if event["method"] == "GET"] == [len(heard)]
        assert len(heard) == int((await service.get(upload.path)).headers["Content-Length"])


@pytest.mark.parametrize("ends", ["in order", "cut"])
async def test_upload_that_fails_breaks_its_listeners_connections(
    service: Service, account: Account, ends: str
) -> None:
    for wav, is_declared in ((WAV, True), (ENDLESS, False)):
        upload = await begin(service, account, wav, until_byte=HALF, is_length_known=is_declared)
        async with listening(service, upload.path) as listener:
            await listener.hears(HEARD)
            if ends == "cut":
                upload.answer.cancel()
            else:
                await service.request("DELETE", f"/uploads/{upload.id}", headers=account.headers)
            with pytest.raises(aiohttp.ClientPayloadError):
                await listener.all()
        assert (await service.get(upload.path)).status == 404
        await asyncio.wait({upload.answer})


@pytest.mark.parametrize("change", ["more sound", "less sound"])
async def test_wrong_announcement_breaks_the_connections_but_keeps_the_record(
    service: Service, account: Account, change: str
) -> None:
    if change == "more sound":
        wav, params = WAV + bytes(20_000), {}
    else:
        wav, params = WAV[: HALF + 50_000], {"incomplete": "keep"}
    upload = await begin(service, account, wav, until_byte=HALF, is_length_known=False, params=params)
    async with listening(service, upload.path) as listener:
        await listener.hears(HEARD)
        upload.paced.release()
        assert (await upload.answer).status == 201
        with pytest.raises(aiohttp.ClientPayloadError):
            await listener.all()
    assert (await service.get(upload.path)).status == 200


async def test_request_that_is_shorter_than_its_wav_declares_announces_nothing(
    service: Service, account: Account
) -> None:
    wav = WAV[: HALF + 50_000]
    upload = await begin(service, account, wav, until_byte=HALF, params={"incomplete": "keep"})
    async with listening(service, upload.path) as listener:
        await listener.hears(HEARD)
        assert "Content-Length" not in listener.response.headers
        upload.paced.release()
        await upload.answer
        assert len(await listener.all()) == len((await service.get(upload.path)).body)


RANGES = ["bytes=0-", "bytes=0-1", "bytes=1000-1999", "bytes=60000-60099", "bytes=-100", "bytes=5000-", "bytes=30-50"]


@pytest.mark.parametrize("wanted", RANGES)
async def test_range_is_answered_as_of_the_finished_mp3(service: Service, account: Account, wanted: str) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF)
    async with listening(service, upload.path, headers={"Range": wanted}) as listener:
        assert listener.response.status == 206
        upload.paced.release()
        await upload.answer
        heard = await listener.all()
        kept = await service.get(upload.path, headers={"Range": wanted})
        assert heard == kept.body
        assert listener.response.headers["Content-Range"] == kept.headers["Content-Range"]


async def test_range_that_has_come_does_not_wait(service: Service, account: Account) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF)
    answer = await service.get(upload.path, headers={"Range": "bytes=0-1999"})
    size = (await uploads(service, account))[0]["expected_size"]
    assert (answer.status, len(answer.body)) == (206, 2_000)
    assert answer.headers["Content-Range"] == f"bytes 0-1999/{size}"
    beyond = await service.get(upload.path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    whole = await service.request("HEAD", upload.path, headers={"Range": "bytes=0-1"})
    assert (whole.status, whole.headers["Content-Length"]) == (200, str(size))
    upload.paced.release()
    await upload.answer


async def test_listener_who_joins_now_hears_from_the_newest_frame(service: Service, account: Account) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF)
    async with listening(service, upload.path) as first:
        await first.hears(20_000)
        async with listening(service, f"{upload.path}?from=now") as second:
            assert second.response.headers["Accept-Ranges"] == "none"
            upload.paced.release()
            await upload.answer
            heard = await second.all()
    kept = (await service.get(upload.path)).body
    assert heard[:2] == kept[info_header(kept).audio_offset :][:2]
    assert kept.endswith(heard)
    assert len(heard) <= len(kept) - 19_000
    assert 0 < len(decode(heard, may_warn=True)) < SECONDS * RATE


async def test_there_is_no_mp3_before_the_header(service: Service, account: Account) -> None:
    upload = await begun(service, account, "ietf", len(WAV))
    answer = await service.get(f"/records/{upload.id}.mp3")
    assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")
    await upload.append(WAV[:HALF], 0)
    path = f"/records/{upload.id}.mp3"
    assert (await service.request("HEAD", path)).status == 200
    await upload.append(WAV[HALF:], HALF, is_last=True)
    assert (await service.get(path)).status == 200


async def test_listener_of_a_suspended_upload_goes_on_with_it(start_service: StartService) -> None:
    service = await start_service(stall_seconds=0.3, resume_seconds=60)
    upload = await begun(service, await service.create_user(), "tus", len(WAV))
    await upload.append(WAV[:HALF], 0)
    async with listening(service, f"/records/{upload.id}.mp3") as listener:
        await listener.hears(HEARD)
        for _ in range(3000):
            if (await upload.look()).json["state"] == "suspended":
                break
            await asyncio.sleep(0.01)
        await upload.append(WAV[HALF:], HALF)
        assert await listener.all() == (await service.get(f"/records/{upload.id}.mp3")).body


async def test_listener_of_multipart_and_chunked_uploads_knows_the_size(service: Service, account: Account) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF, is_length_known=False)
    async with listening(service, upload.path) as listener:
        assert int(listener.response.headers["Content-Length"]) > 60_000
        upload.paced.release()
        await upload.answer
        assert await listener.all() == (await service.get(upload.path)).body


@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "undeclared"])
async def test_upload_in_another_process_is_heard_through_this_one(
    start_service: StartService, *, is_declared: bool
) -> None:
    one, other = await start_service(), await start_service()
    account = await one.create_user()
    wav = WAV if is_declared else ENDLESS
    upload = await begin(one, account, wav, until_byte=HALF, is_length_known=is_declared)
    async with listening(other, upload.path) as listener:
        await listener.hears(HEARD)
        assert ("Content-Length" in listener.response.headers) == is_declared
        head = await other.request("HEAD", upload.path)
        assert (head.status, head.headers["Cache-Control"]) == (200, "no-store")
        upload.paced.release()
        await upload.answer
        heard, kept = await listener.all(), (await one.get(upload.path)).body
        assert heard[-5_000:] == kept[-5_000:]
        assert len(heard) == len(kept)


async def test_failed_upload_in_another_process_breaks_the_connection_here(start_service: StartService) -> None:
    one, other = await start_service(), await start_service()
    account = await one.create_user()
    for wav, is_declared in ((WAV, True), (ENDLESS, False)):
        upload = await begin(one, account, wav, until_byte=HALF, is_length_known=is_declared)
        async with listening(other, upload.path) as listener:
            await listener.hears(HEARD)
            upload.answer.cancel()
            with pytest.raises(aiohttp.ClientPayloadError):
                await listener.all()
        assert (await other.get(upload.path)).status == 404


async def test_http_1_0_client_of_an_unknown_length_reads_until_the_end(service: Service, account: Account) -> None:
    upload = await begin(service, account, ENDLESS, until_byte=HALF, is_length_known=False)
    async with connect(service) as client:
        await client.send(f"GET {upload.path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.[01] 200 ", head)
        assert b"chunked" not in head.lower()
        upload.paced.release()
        await upload.answer
        assert len(await client.reader.read()) == len((await service.get(upload.path)).body)


async def test_listeners_come_and_go_and_leave_nothing_behind(
    service: Service, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with invariants_hold(service, caplog):
        upload = await begin(service, account, WAV, until_byte=HALF)
        for round_ in range(3):
            async with listening(service, upload.path) as listener:
                await listener.hears(HEARD + 1_000 * round_)
        upload.paced.release()
        assert (await upload.answer).status == 201


async def test_draft_is_looked_at_once_for_all_listeners(
    service: Service, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    look = Broadcast._read_newest  # noqa: SLF001 - counts the only place that looks at the draft

    def counted(self: Broadcast, outline: Any) -> Any:
        looks.append(None)
        return look(self, outline)

    monkeypatch.setattr(Broadcast, "_read_newest", counted)
    upload = await begin(service, account, WAV, until_byte=HALF)
    many = [service.client.get(upload.path) for _ in range(12)]
    responses = await asyncio.gather(*many)
    before, started = len(looks), asyncio.get_running_loop().time()
    await until(lambda: len(looks) >= before + 10)
    seconds = asyncio.get_running_loop().time() - started
    assert seconds > 10 * 0.05 * 0.9, "each listener looked for itself"
    upload.paced.release()
    await upload.answer
    bodies = [await response.read() for response in responses]
    assert set(bodies) == {(await service.get(upload.path)).body}


async def test_mp3_of_another_users_upload_is_as_public_as_its_address(service: Service, account: Account) -> None:
    upload = await begin(service, account, WAV, until_byte=HALF)
    assert (await service.request("HEAD", upload.path)).status == 200
    gone = await service.get(upload.path.replace(upload.id[:8], "00000000"))
    assert gone.status == 404
    upload.paced.release()
    await upload.answer


async def test_plain_upload_in_pieces_is_what_it_was(service: Service, account: Account) -> None:
    answer = await service.put("/records/a.wav", data=in_pieces(WAV), headers=account.headers)
    assert answer.status == 201
