"""A machine that has no thread left: the service goes on with the threads that it has, and nothing is a bug."""

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.procfs import read
from tests.support.serving import Serving, noise, serve

_PAGE_BYTES = resource.getpagesize()
# Less than the stack of a thread, and enough for what a request needs.
_SPARE_BYTES = 6 * 2**20


def leave_no_thread(serving: Serving) -> None:
    """Let the service have no room for the stack of another thread; root has no limit on their number."""
    used = int(read(serving.process.pid, "statm").split()[0]) * _PAGE_BYTES
    resource.prlimit(serving.process.pid, resource.RLIMIT_AS, (used + _SPARE_BYTES,) * 2)


def test_service_without_threads_serves_downloads_and_asks_uploads_to_come_again(tmp_path: Path) -> None:
    wav = noise(seconds=0.5)
    with serve(tmp_path / "data") as before:
        user = before.create_user()
        kept = before.upload(user, wav)
    with serve(tmp_path / "data") as serving:
        leave_no_thread(serving)
        status, headers, body = serving.request("PUT", "/records/talk.wav", wav, user)
        assert (status, json.loads(body)["code"]) == (503, "encoder_unavailable")
        assert int(headers["Retry-After"]) > 0
        with ThreadPoolExecutor(40) as clients:
            assert all(clients.map(lambda _: serving.has(kept), range(40)))
        for path in ("/", "/docs", "/metrics", "/health/live", f"/records/{kept.id}/peaks.json"):
            assert serving.request("GET", path)[0] == 200, path
        status, _, body = serving.request("GET", "/health/ready")
        assert (status, json.loads(body)["code"]) == (503, "not_ready")
        assert serving.request("DELETE", f"/records/{kept.id}", headers=user)[0] == 204
        serving.process.terminate()
        assert serving.process.wait(20) == 0
        assert '"bug"' not in serving.log()
        assert "Traceback" not in serving.log()
