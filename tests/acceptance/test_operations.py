"""What operators see: health, metrics, and one log line for each request."""

import asyncio
import re
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from service.web.app_keys import ADMISSION
from tests.support import s3
from tests.support.client import TRANSPORTS, Account, Service, StartService, Transport
from tests.support.invariants import GOOD_WAV
from tests.support.waiting import until

REQUIRED_METRICS = {
    *("wavepress_requests", "wavepress_uploads", "wavepress_received_bytes", "wavepress_sent_bytes"),
    *("wavepress_audio_seconds", "wavepress_encode_realtime_factor", "wavepress_last_byte_to_record_seconds"),
    *("wavepress_encoder_slots_used", "wavepress_encoder_slots_limit", "wavepress_encoder_slots_waiting"),
    *("wavepress_encoder_failures", "wavepress_database_query_seconds", "wavepress_database_failures"),
    *("wavepress_database_connections_used", "wavepress_database_connections_limit", "wavepress_downloads"),
    "wavepress_build_info",
}


async def samples(service: Service) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = await service.get("/metrics")
    assert answer.status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_live_says_that_the_process_answers(service: Service) -> None:
    assert (await service.get("/health/live")).json == {"status": "live"}


async def test_ready_names_every_check(service: Service) -> None:
    answer = await service.get("/health/ready")
    assert (answer.status, answer.json["status"]) == (200, "ready")
    assert answer.json["checks"] == {"database": "ok", "storage": "ok", "encoder": "ok"}


async def test_failing_check_is_named_and_the_service_stays_live(start_service: StartService) -> None:
    service = await start_service(min_free_bytes=2**62)
    answer = await service.get("/health/ready")
    assert (answer.status, answer.json["code"]) == (503, "not_ready")
    assert answer.json["detail"].startswith("storage: ")
    assert (await service.get("/health/live")).status == 200


async def test_service_without_an_encoder_is_not_ready(start_service: StartService, tmp_path: Path) -> None:
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text("#!/bin/sh\nexit 1\n")
    ffmpeg.chmod(0o755)
    service = await start_service(ffmpeg=ffmpeg)
    answer = await service.get("/health/ready")
    assert answer.status == 503
    assert "encoder: " in answer.json["detail"]


async def test_service_is_not_ready_once_it_is_told_to_stop(service: Service) -> None:
    assert (await service.get("/health/ready")).status == 200
    service.app[ADMISSION].close()
    answer = await service.get("/health/ready")
    assert answer.status == 503
    assert answer.json["detail"].startswith("shutdown: ")
    assert answer.headers["Connection"] == "close"


async def test_ready_is_cheap_enough_for_many_probes(service: Service) -> None:
    await service.get("/health/ready")
    before = await samples(service)
    await asyncio.gather(*(service.get("/health/ready") for _ in range(20)))
    after = await samples(service)
    key = ("wavepress_database_query_seconds_count", (("query", "select_migration"),))
    assert after[key] - before[key] <= 1


async def test_every_metric_of_the_contract_is_there(service: Service, account: Account) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    await service.get(record["url"])
    families = text_string_to_metric_families((await service.get("/metrics")).body.decode())
    assert {family.name for family in families} >= REQUIRED_METRICS


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_uploads_are_counted_by_outcome_and_transport(
    service: Service, account: Account, transport: Transport
) -> None:
    before = await samples(service)
    await service.upload(account, GOOD_WAV, transport=transport)
    await service.upload(account, b"garbage", transport=transport)
    after = await samples(service)
    for outcome in ("created", "not_wav"):
        key = ("wavepress_uploads_total", (("outcome", outcome), ("transport", transport)))
        assert after[key] - before.get(key, 0) == 1
    audio = ("wavepress_audio_seconds_total", ())
    assert after[audio] - before[audio] == pytest.approx(0.1)
    assert after["wavepress_encoder_slots_used", ()] == 0


@pytest.mark.parametrize("storage", ["disk", "s3"])
async def test_downloads_are_counted_by_status_on_every_storage(
    start_service: StartService, request: pytest.FixtureRequest, storage: str
) -> None:
    on_s3 = s3.settings(request.getfixturevalue("s3_endpoint_url"), uuid4().hex) if storage == "s3" else {}
    service = await start_service(**on_s3)
    account = await service.create_user()
    record = (await service.upload(account, GOOD_WAV)).json
    addresses = [record["url"], f"/audiotrack?id={record['id']}&user={account.id}"]
    asked = [
        (200, {}),
        (206, {"Range": "bytes=0-9"}),
        (304, {"If-None-Match": "*"}),
        (412, {"If-Match": '"other"'}),
        (416, {"Range": "bytes=999999-"}),
    ]
    before = await samples(service)
    for address in addresses:
        for status, headers in asked:
            assert (await service.get(address, headers=headers)).status == status
    after = await samples(service)
    for status, _ in asked:
        key = ("wavepress_downloads_total", (("status", str(status)),))
        assert after[key] - before.get(key, 0) == len(addresses), status


async def test_labels_are_patterns_and_never_text_from_a_client(service: Service, account: Account) -> None:
    for path in ("/records/secret-name.wav", "/no/such/secret-path", "/users?secret=1"):
        await service.put(path, data=b"x", headers=account.headers)
    await service.request("SECRETVERB", "/users")
    text = (await service.get("/metrics")).body.decode().lower()
    assert "secret" not in text


async def test_metrics_move_to_their_own_port_if_one_is_set(start_service: StartService) -> None:
    service = await start_service(metrics_port=9999)
    assert (await service.get("/metrics")).status == 404


async def test_one_log_line_tells_who_what_how_much_and_why(service: Service, account: Account) -> None:
    with structlog.testing.capture_logs() as events:
        created = await service.upload(account, GOOD_WAV)
        await service.upload(account, b"garbage")
    first, second = (event for event in events if event["event"] == "request")
    assert (first["method"], first["route"], first["status"]) == ("PUT", "/records/{filename}", 201)
    assert (first["user_id"], first["bytes_in"]) == (account.id, len(GOOD_WAV))
    assert first["bytes_out"] == len(created.body)
    assert first["seconds"] > 0
    assert (first["path"], first["mp3_bytes"]) == ("/records/talk.wav", created.json["size"])
    assert first["sound_seconds"] == created.json["duration"]
    assert (second["status"], second["outcome"]) == (415, "not_wav")


async def test_log_never_holds_a_token_or_a_records_address(service: Service, account: Account) -> None:
    with structlog.testing.capture_logs() as events:
        record = (await service.upload(account, GOOD_WAV)).json
        await service.get(record["url"])
        await service.get(f"/audiotrack?id={record['id']}&user={account.id}")
        await service.post(f"/api_v1/records/?user_id={account.id}&user_token={account.token}", data=b"")
        for file in service.files():
            file.unlink()
        await service.get(record["url"])
        await service.get(f"/records/{record['id'].upper()}.mp3.wav?token={account.token}")
        await service.get(f"/nowhere/{account.token.replace('-', '')}")
        await service.get(f"/nowhere/{account.token.replace('-', '%2D')}")
    text = repr(events).lower()
    assert account.token not in text
    assert account.token.replace("-", "") not in text
    assert record["id"] not in text
    assert record["id"].replace("-", "") not in text


async def test_path_in_the_log_is_short_and_cannot_move_a_terminals_cursor(service: Service) -> None:
    with structlog.testing.capture_logs() as events:
        await service.get("/records/0b7c1c5e-1111-4222-8333-444455556666.mp3")
        await service.get("/no/such/page%1B[2J%0A%E2%80%AEname.wav")
        await service.get(f"/{'x' * 3000}")
    paths = [event["path"] for event in events]
    assert paths == ["/records/0b7c1c5e….mp3", "/no/such/page?[2J??name.wav", f"/{'x' * 99}…"]


async def test_requests_for_health_and_metrics_are_not_logged(service: Service) -> None:
    with structlog.testing.capture_logs() as events:
        for path in ("/health/live", "/health/ready", "/metrics"):
            await service.get(path)
    assert events == []


async def test_request_id_of_a_client_is_logged_and_returned(service: Service) -> None:
    with structlog.testing.capture_logs() as events:
        answer = await service.get("/users/me", headers={"X-Request-Id": "trace-1.a_B"})
    assert answer.headers["X-Request-Id"] == "trace-1.a_B"
    assert events[0]["request_id"] == "trace-1.a_B"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, '"}{'])
async def test_invalid_request_id_is_replaced(service: Service, given: str) -> None:
    answer = await service.get("/nowhere", headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


async def test_download_is_logged_with_what_was_sent(service: Service, account: Account) -> None:
    record = (await service.upload(account, GOOD_WAV)).json
    with structlog.testing.capture_logs() as events:
        await service.get(record["url"])
        await until(lambda: events)  # the line follows the last byte
    assert events[0]["bytes_out"] == record["size"]
