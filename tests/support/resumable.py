"""Clients of both languages of resumable uploads, as their specifications have them."""

import base64
from dataclasses import dataclass
from typing import Any

from tests.support.client import Account, Answer, Service

TUS = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True)
class Resumable:
    """An upload that has been created; `path` is its address."""

    service: Service
    account: Account
    path: str
    language: str

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]

    async def append(
        self, data: Any, offset: int, *, is_last: bool = False, length: int | None = None, **options: Any
    ) -> Answer:
        """Send bytes, and the upload's length if it is given; `is_last` only matters to the IETF's language."""
        headers = self.append_headers(offset, is_last=is_last)
        if length is not None:
            headers["Upload-Length"] = str(length)
        return await self.service.request("PATCH", self.path, data=data, headers=headers, **options)

    def append_head(self, offset: int, byte_count: int, *, is_last: bool = False) -> bytes:
        """Return the head of a request that brings so many bytes."""
        headers = {"Host": "x", **self.append_headers(offset, is_last=is_last), "Content-Length": str(byte_count)}
        lines = [f"PATCH {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    def append_headers(self, offset: int, *, is_last: bool) -> dict[str, str]:
        if self.language == "tus":
            own = {**TUS, "Content-Type": "application/offset+octet-stream"}
        else:
            own = {"Content-Type": "application/partial-upload", "Upload-Complete": "?1" if is_last else "?0"}
        return {**own, "Upload-Offset": str(offset), **self.account.headers}

    async def head(self) -> Answer:
        own = TUS if self.language == "tus" else {}
        return await self.service.request("HEAD", self.path, headers={**own, **self.account.headers})

    async def offset(self) -> int:
        answer = await self.head()
        assert answer.status in {200, 204}, answer
        return int(answer.headers["Upload-Offset"])

    async def look(self) -> Answer:
        return await self.service.get(self.path, headers=self.account.headers, allow_redirects=False)

    async def cancel(self) -> Answer:
        own = TUS if self.language == "tus" else {}
        return await self.service.request("DELETE", self.path, headers={**own, **self.account.headers})

    async def record(self) -> Answer:
        return await self.service.get(f"/records/{self.id}", headers=self.account.headers)


async def create(
    service: Service,
    account: Account,
    language: str,
    length: int | None = None,
    *,
    data: bytes = b"",
    is_whole: bool = False,
    metadata: dict[str, str] | None = None,
    path: str = "/uploads",
    **more: str,
) -> Answer:
    """Send the first request of a resumable upload."""
    if language == "tus":
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        pairs = {"filename": "talk.wav"} | (metadata or {})
        encoded = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
        own = {**TUS, **size, "Upload-Metadata": encoded}
        if data:
            own["Content-Type"] = "application/offset+octet-stream"
    else:
        own = {
            "Upload-Complete": "?1" if is_whole else "?0",
            "Content-Disposition": 'attachment; filename="talk.wav"',
        }
        if length is not None:
            own["Upload-Length"] = str(length)
    return await service.post(path, data=data, headers={**own, **account.headers, **more})


async def begun(service: Service, account: Account, language: str, length: int | None = None, **more: Any) -> Resumable:
    """Create a resumable upload, and return it."""
    answer = await create(service, account, language, length, **more)
    assert answer.status == 201, answer
    path = answer.headers["Location"].removeprefix(str(service.url).rstrip("/"))
    return Resumable(service, account, path, language)
