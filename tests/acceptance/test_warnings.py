"""Warnings: each has its code in the record and in a header of its own, whatever the client accepts."""

import pytest
from aiohttp import FormData

from service import record_warnings
from tests.support import wavs
from tests.support.client import TRANSPORTS, Account, Service, Transport

LAYOUT = {"sample_rate": 8000, "channels": 1}
SOUND = wavs.S16.encode(wavs.chirp(1000, 8000, 1))
# Three things are odd about it.
ODD = wavs.wav(SOUND, block_align=4, data_size=len(SOUND) + 44, **LAYOUT)  # type: ignore[arg-type]
CODES = ["wrong_block_align", "wrong_byte_rate", "wrong_data_size"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_warning_has_a_header_of_its_own(service: Service, account: Account, transport: Transport) -> None:
    answer = await service.upload(account, ODD, transport=transport)
    assert answer.status == 201
    assert [warning["code"] for warning in answer.json["warnings"]] == CODES
    assert answer.headers.getall("Wavepress-Warning") == CODES
    assert set(CODES) <= set(record_warnings.TABLE)


async def test_client_that_accepts_text_sees_the_codes(service: Service, account: Account) -> None:
    headers = account.headers | {"Accept": "text/plain", "Idempotency-Key": "a"}
    for status in (201, 200):
        answer = await service.put("/records/talk.wav?bitrate=1", data=ODD, headers=headers)
        assert answer.status == status
        assert answer.body.endswith(b".mp3\n")
        assert answer.headers.getall("Wavepress-Warning") == ["unknown_parameter", *CODES]


async def test_clients_of_the_older_apis_see_the_codes(service: Service, account: Account) -> None:
    for path, field in (("/audiotrack", "file"), ("/api_v1/records/", "record")):
        form = FormData()
        form.add_field("user_id", str(account.id))
        form.add_field(field, ODD, filename="talk.wav", content_type="audio/wav")
        params = {"user_id": str(account.id), "user_token": account.token}
        answer = await service.post(path, data=form, headers=account.headers, params=params)
        assert answer.status in {200, 201}, answer.json
        assert answer.headers.getall("Wavepress-Warning") == CODES


@pytest.mark.parametrize(
    ("row", "facts", "sentence"),
    [
        (
            record_warnings.SURPLUS_SOUND,
            {"declared": 2, "surplus": 3},
            (
                "The data chunk declares 2 bytes of samples. The 3 bytes after them are not a chunk, so they were "
                "taken as sound, too."
            ),
        ),
        (
            record_warnings.WRONG_BITS,
            {"bits": 16, "title": "A-law", "right": 8},
            "The header says 16 bits, but A-law has 8.",
        ),
    ],
)
def test_sentence_has_its_facts(row: record_warnings.WarningKind, facts: dict[str, object], sentence: str) -> None:
    assert (row(**facts).code, row(**facts).detail) == (row.code, sentence)
