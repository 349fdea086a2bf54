"""One client of the soak: it does what good and bad clients do, and checks every answer."""

import json
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import Address, Answer, Connection, create_user

_BOUNDARY = "wavepress"
_CHUNK_BYTES = 50_000
_GARBAGE_BYTES = 100_000
# Records beyond these are deleted, so that the disk does not fill.
_KEPT_RECORDS = 20


class Visitor:
    """A client that does one act after the other, each over a connection of its own, and deletes its records again."""

    def __init__(self, address: Address, wav: Path, seed: int) -> None:
        self._address = address
        self._wav = wav.read_bytes()
        self._random = random.Random(seed)
        self._records: list[str] = []
        self._acts: dict[Callable[[], None], int] = {
            self.upload_raw: 3,
            self.upload_chunked: 3,
            self.upload_form: 3,
            self.hang_up: 3,
            self.send_garbage: 2,
            self.send_no_http: 1,
            self.download_range: 4,
            self.create_user: 2,
        }

    def act(self) -> None:
        """Do a random act. Raises RuntimeError if the answer is wrong, and OSError."""
        if len(self._records) > _KEPT_RECORDS:
            self.delete_record()
        self._random.choices(list(self._acts), list(self._acts.values()))[0]()

    def every_act(self) -> None:
        """Do each act once. Raises as `act` does."""
        for act in (*self._acts, self.delete_record):
            act()

    def upload_raw(self) -> None:
        """Send a WAV as the body, its length declared."""
        answer = self._send("PUT", "/records/raw.wav", len(self._wav), body=[self._wav])
        self._keep(_expect(answer, HTTPStatus.CREATED))

    def upload_chunked(self) -> None:
        """Send a WAV in chunks."""
        pieces = (self._wav[start : start + _CHUNK_BYTES] for start in range(0, len(self._wav), _CHUNK_BYTES))
        chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
        self._keep(_expect(self._send("PUT", "/records/chunked.wav", None, body=chunks), HTTPStatus.CREATED))

    def upload_form(self) -> None:
        """Send a WAV in a form."""
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="form.wav"\r\n\r\n'.encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        body = [head, self._wav, tail]
        headers = [f"Content-Type: multipart/form-data; boundary={_BOUNDARY}"]
        answer = self._send("POST", "/records", sum(map(len, body)), headers, body)
        self._keep(_expect(answer, HTTPStatus.CREATED))

    def hang_up(self) -> None:
        """Close the connection somewhere in a WAV."""
        with Connection(self._address) as connection:
            connection.send_head("PUT", "/records/gone.wav", len(self._wav))
            connection.send([self._wav[: self._random.randrange(len(self._wav))]])

    def send_garbage(self) -> None:
        """Send noise in place of a WAV: from its first byte, or after a WAV's first bytes."""
        noise = self._random.randbytes(_GARBAGE_BYTES)
        body = noise if self._random.random() < 0.5 else self._wav[:20] + noise  # noqa: PLR2004 - one half
        with suppress(BrokenPipeError, ConnectionResetError):  # the service may hang up on such a body
            answer = self._send("PUT", "/records/noise.wav", len(body), body=[body])
            _expect(answer, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY)

    def send_no_http(self) -> None:
        """Send bytes that are not HTTP at all."""
        with Connection(self._address) as connection:
            connection.send([b"\x16\x03\x01 what is this?\r\n\r\n"])
            _expect(connection.receive_any(), HTTPStatus.BAD_REQUEST)

    def download_range(self) -> None:
        """Download a part of a record, if there is one."""
        if not self._records:
            return
        first = self._random.randrange(1000)
        headers = [f"Range: bytes={first}-{first + self._random.randrange(100_000)}"]
        answer = self._send("GET", f"{self._random.choice(self._records)}.mp3", headers=headers)
        _expect(answer, HTTPStatus.PARTIAL_CONTENT)

    def create_user(self) -> None:
        """Create a user."""
        with Connection(self._address) as connection:
            create_user(connection)

    def delete_record(self) -> None:
        """Delete one of the records."""
        path = self._records.pop(self._random.randrange(len(self._records)))
        _expect(self._send("DELETE", path), HTTPStatus.NO_CONTENT)

    def _send(
        self,
        method: str,
        path: str,
        byte_count: int | None = 0,
        headers: Iterable[str] = (),
        body: Iterable[bytes] = (),
    ) -> Answer:
        with Connection(self._address) as connection:
            connection.send_head(method, path, byte_count, headers)
            connection.send(body)
            return connection.receive_any()

    def _keep(self, answer: Answer) -> None:
        self._records.append(urlsplit(json.loads(answer.body)["url"]).path.removesuffix(".mp3"))


def _expect(answer: Answer, *statuses: HTTPStatus) -> Answer:
    if answer.status not in statuses:
        raise RuntimeError(f"the service answered {answer.head!r} {answer.body!r} in place of {statuses}")
    return answer
