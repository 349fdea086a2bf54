"""A client of the service under test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import aiohttp
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient
from yarl import URL

Transport = Literal["multipart", "raw", "chunked", "resumable"]
TRANSPORTS: tuple[Transport, ...] = ("multipart", "raw", "chunked")
# What breaks must not matter to any of them.
EVERY_TRANSPORT: tuple[Transport, ...] = (*TRANSPORTS, "resumable")


@dataclass(frozen=True)
class Account:
    """A user of the service with its token."""

    id: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


# An account that no service has.
NOBODY = Account(0, "6f9619ff-8b86-4d01-b42d-00cf4fc964ff")


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: Any
    body: bytes
    json: Any

    @classmethod
    async def of(cls, response: aiohttp.ClientResponse) -> "Answer":
        body = await response.read()
        is_json = response.content_type.endswith("json") and body
        return cls(response.status, response.headers, body, await response.json(content_type=None) if is_json else None)


@dataclass(frozen=True)
class Service:
    """A running service."""

    client: TestClient[web.Request, None]
    app: web.Application
    data_dir: Path
    database_url: str

    @property
    def url(self) -> URL:
        return self.client.make_url("/")

    async def request(self, method: str, path: str | URL, **options: Any) -> Answer:
        """Send one request, to a path or to an absolute URL of this service."""
        path = URL(path, encoded=True)
        if path.absolute:
            path = path.relative()
        async with self.client.request(method, path, **options) as response:
            return await Answer.of(response)

    async def get(self, path: str | URL, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str | URL, **options: Any) -> Answer:
        return await self.request("POST", path, **options)

    async def put(self, path: str | URL, **options: Any) -> Answer:
        return await self.request("PUT", path, **options)

    async def create_user(self, username: str = "ann") -> Account:
        answer = await self.post("/users", json={"username": username})
        assert answer.status == 201, answer
        return Account(answer.json["id"], answer.json["token"])

    async def upload(
        self,
        account: Account,
        wav: bytes,
        *,
        transport: Transport = "raw",
        filename: str = "talk.wav",
        params: dict[str, str] | None = None,
    ) -> Answer:
        """Send a WAV over one of the transports."""
        if transport == "multipart":
            form = FormData()
            form.add_field("file", BytesIO(wav), filename=filename, content_type="audio/wav")
            return await self.post("/records", data=form, headers=account.headers, params=params)
        if transport == "resumable":
            return await self._upload_in_three(account, wav, f"/records/{filename}", params)
        data: Any = BytesIO(wav) if transport == "raw" else in_pieces(wav)
        return await self.put(f"/records/{filename}", data=data, headers=account.headers, params=params)

    async def _upload_in_three(self, account: Account, wav: bytes, path: str, params: dict[str, str] | None) -> Answer:
        """Send a WAV in three requests of the IETF's language, and return the answer to the last or the refused one."""
        own = account.headers | {"Upload-Complete": "?0", "Upload-Length": str(len(wav))}
        answer = await self.put(path, headers=own, params=params)
        if answer.status != 201:
            return answer
        address, half = answer.headers["Location"], len(wav) // 2
        for offset, piece in ((0, wav[:half]), (half, wav[half:])):
            own = account.headers | {"Upload-Offset": str(offset), "Content-Type": "application/partial-upload"}
            own["Upload-Complete"] = "?1" if offset else "?0"
            answer = await self.request("PATCH", address, data=piece, headers=own)
            if answer.status != 204:
                return answer
        return answer

    def files(self) -> list[Path]:
        """Return every file below the storage's directory."""
        return [path for path in (self.data_dir / "records").rglob("*") if path.is_file()]


# The fixture `start_service`: a function that takes settings and budgets.
StartService = Callable[..., Awaitable[Service]]


async def in_pieces(content: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    """Yield bytes in pieces, which makes aiohttp's client send them chunked."""
    for start in range(0, len(content), size):
        yield content[start : start + size]
