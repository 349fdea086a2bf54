"""What a terminal shows of the log."""

import pytest

from service.logs import for_people

REQUEST = {
    "event": "request",
    "level": "info",
    "timestamp": "14:02:11",
    "method": "PUT",
    "route": "/records/{filename}",
    "path": "/records/talk.wav",
    "status": 201,
    "seconds": 2.04,
    "outcome": "ok",
    "user_id": 1,
    "bytes_in": 52_920_044,
    "bytes_out": 400,
    "remote": "127.0.0.1",
    "request_id": "0b7c1c5e0b7c1c5e0b7c1c5e0b7c1c5e",
}
SOUND = {"sound_seconds": 300.0, "mp3_bytes": 4_800_835}


def shown(**event: object) -> str:
    return for_people(colors=False)(None, "info", event)


def test_upload_is_one_short_line() -> None:
    line = shown(**REQUEST, **SOUND)
    assert line == "14:02:11 201 PUT /records/talk.wav  52.9 MB in 2.0 s → 5:00 of sound, 4.8 MB  user 1"


def test_refusal_says_why() -> None:
    line = shown(**REQUEST | {"status": 422, "outcome": "truncated", "bytes_in": 900, "seconds": 0.012})
    assert line == "14:02:11 422 PUT /records/talk.wav  truncated  900 B in 12 ms  user 1"


def test_download_says_how_much_was_sent() -> None:
    download = {"method": "GET", "path": "/records/0b7c1c5e….mp3", "status": 200, "bytes_in": 0, "bytes_out": 67_334}
    event = REQUEST | download
    del event["user_id"]
    assert shown(**event) == "14:02:11 200 GET /records/0b7c1c5e….mp3  67.3 kB in 2.0 s"


@pytest.mark.parametrize(
    ("seconds", "length"),
    [(0.04, "0.0 s"), (4.1266, "4.1 s"), (59.94, "59.9 s"), (59.96, "1:00"), (61, "1:01"), (3723.4, "1:02:03")],
)
def test_length_of_sound_is_shown_as_players_show_it(seconds: float, length: str) -> None:
    assert f"→ {length} of sound" in shown(**REQUEST, **SOUND | {"sound_seconds": seconds})


def test_color_is_that_of_the_status() -> None:
    assert for_people(colors=True)(None, "info", {**REQUEST}).startswith("14:02:11 \x1b[32m201\x1b[0m PUT")


def test_sentence_stands_by_itself() -> None:
    event = {"event": "little_room", "level": "warning", "timestamp": "14:02:11", "detail": "Only 52 MiB are free."}
    assert shown(**event) == "14:02:11 warning: Only 52 MiB are free."


def test_other_event_is_a_line_of_its_name_and_its_facts() -> None:
    event = {"event": "user_created", "level": "info", "timestamp": "14:02:11", "user_id": 1, "request_id": "abc"}
    assert shown(**event) == "14:02:11 info: user created  user_id=1"


def test_fault_has_its_request_and_nothing_that_moves_the_cursor() -> None:
    event = {"event": "encoder_failed", "level": "error", "timestamp": "14:02:11", "status": 1, "request_id": "abc"}
    line = shown(**event, reason="", last_words="\x1b[2J no room\n")
    assert line == r"14:02:11 error: encoder failed  status=1  request_id=abc  last_words='\x1b[2J no room\n'"
