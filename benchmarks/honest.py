"""Honest clients, and what they find at a service that is attacked."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import Address, Connection, upload
from benchmarks.latency import seconds_of
from benchmarks.running import Running, new_user
from benchmarks.sounds import make_wav
from service.database.embedded import postgres
from tests.support import wavs
from tests.support.database import query

_WAV_SECONDS = 3
# 15.3 MiB at 320 kbit/s, of silence, because nobody listens.
_LONG_WAV_SECONDS = 400
_RECORDS = 1000
# Each character is twelve bytes of JSON.
_LONG_NAME = "\N{SAXOPHONE}" * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A service with a long MP3, a short WAV to upload, and the user `mallory` who has many records with long names."""

    service: Running
    wav: Path
    mp3: str
    mp3_byte_count: int
    mallory: Address


@dataclass(slots=True)
class Visits:
    """How many seconds each honest upload and download took, and why others failed."""

    uploads: list[float] = field(default_factory=list)
    downloads: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def visit(self, target: Target) -> None:
        """Upload a WAV and download the MP3, each over a connection of its own."""
        try:
            self.uploads.append(seconds_of(lambda: upload(target.service.address, target.wav)))
            self.downloads.append(seconds_of(lambda: _download(target)))
        except (OSError, RuntimeError) as error:
            self.failures.append(repr(error))


def make_target(service: Running, directory: Path) -> Target:
    """Upload the long MP3 to a service, and make mallory's records. Its database is the embedded one."""
    long_wav = directory / "long.wav"
    silence = bytes(_LONG_WAV_SECONDS * 48_000)
    long_wav.write_bytes(wavs.wav(silence, sample_rate=48_000, channels=1, sample_format=wavs.U8))
    with Connection(service.address) as connection:
        connection.send_head("PUT", "/records/long.wav?bit_rate=320000", long_wav.stat().st_size)
        connection.send_file(long_wav, long_wav.stat().st_size)
        record = json.loads(connection.receive())
    mallory = new_user(service.address.port)
    _fill_newest_user(service.data_dir)
    return Target(service, make_wav(directory, _WAV_SECONDS), urlsplit(record["url"]).path, record["size"], mallory)


def _fill_newest_user(data_dir: Path) -> None:
    """Give a user many records, without files: only lists are asked for."""
    statement = """
        INSERT INTO records (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256)
        SELECT gen_random_uuid(), (SELECT max(id) FROM users), %s, 1, 44100, 2, 128000, 1, sha256('')
        FROM generate_series(1, %s)
    """
    with postgres(data_dir / "postgres", share=True) as url:
        query(url, statement, (_LONG_NAME, _RECORDS))


def _download(target: Target) -> None:
    with Connection(target.service.address) as connection:
        connection.send_head("GET", target.mp3)
        if connection.receive_and_forget() != target.mp3_byte_count:
            raise RuntimeError("the MP3 has another size than its record says")
