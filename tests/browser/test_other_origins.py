"""Pages of other origins in a real browser, which enforces what the service allows."""

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support import wavs
from tests.support.browser import blank_pages, run
from tests.support.serving import Kept, Serving, serve

WAV = wavs.wav(wavs.chirp(44_100, 44_100, 2), sample_rate=44_100, channels=2)
# What the scripts below have in common. `fetch` rejects with a TypeError whatever the page may not do.
HELPERS = """
const wav = new Blob([Uint8Array.from(atob(encoded), c => c.charCodeAt(0))], {type: "audio/wav"});
const ask = async (method, path, options = {}) => {
  const answer = await fetch(url + path, {method, ...options});
  const text = await answer.text();
  return {status: answer.status, header: name => answer.headers.get(name), json: () => JSON.parse(text)};
};
const fails = promise => promise.then(() => false, error => error instanceof TypeError);
"""


@pytest.fixture(scope="module")
def allowed() -> Iterator[str]:
    with blank_pages() as origin:
        yield origin


@pytest.fixture(scope="module")
def serving(allowed: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    data_dir = tmp_path_factory.mktemp("browser") / "data"
    with serve(data_dir, DATABASE_URL=postgres_url, CORS_ORIGINS=f"https://app.example,{allowed}") as running:
        yield running


@pytest.fixture(scope="module")
def record(serving: Serving) -> Kept:
    return serving.upload(serving.create_user(), WAV)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def run_in(page: Page, serving: Serving, script: str, **values: object) -> object:
    url = f"http://127.0.0.1:{serving.port}"
    return run(page, HELPERS + script, url=url, encoded=base64.b64encode(WAV).decode(), **values)


def test_page_of_an_allowed_origin_uses_the_whole_api(page: Page, serving: Serving, allowed: str) -> None:
    page.goto(allowed)
    script = """
    const user = (await ask("POST", "/users", {
      body: JSON.stringify({username: "ann"}), headers: {"Content-Type": "application/json"}})).json();
    const token = {Authorization: `Bearer ${user.token}`};
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await wav.arrayBuffer()));
    const digest = `sha-256=:${btoa(String.fromCharCode(...hash))}:`;
    const headers = {...token, "Idempotency-Key": "once", "Content-Digest": digest, "X-Of-A-Library": "1",
      "Content-Disposition": "attachment; filename=a.wav"};
    const once = () => ask("POST", "/records", {body: wav, headers});
    const sent = [await once(), await once()];
    const form = new FormData();
    form.append("file", wav, "b; c.wav");
    const asForm = await ask("POST", "/records", {body: form, headers: token});
    const progress = await new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      let seen = 0;
      request.upload.onprogress = event => { seen = event.loaded; };
      request.onload = () => resolve(request.status === 201 && seen === wav.size);
      request.onerror = reject;
      request.open("PUT", `${url}/records/c.wav`);
      request.setRequestHeader("Authorization", token.Authorization);
      request.send(wav);
    });
    const list = (await ask("GET", "/records", {headers: token})).json().records;
    const gone = await ask("DELETE", `/records/${list[0].id}`, {headers: token});
    return {
      statuses: [...sent.map(answer => answer.status), asForm.status, gone.status],
      names: list.map(one => one.filename), progress,
      read: [sent[0].header("Location") === sent[0].json().url, sent[1].header("Idempotency-Replayed"),
        sent[0].header("X-Request-Id").length],
    };
    """
    assert run_in(page, serving, script) == {
        "statuses": [201, 200, 201, 204],
        "names": ["c.wav", "b; c.wav", "a.wav"],
        "progress": True,
        "read": [True, "true", 32],
    }


def test_page_of_an_allowed_origin_reads_why_it_is_refused(page: Page, serving: Serving, allowed: str) -> None:
    page.goto(allowed)
    script = """
    const user = (await ask("POST", "/users?username=ann")).json();
    const headers = {Authorization: `Bearer ${user.token}`};
    const answers = [
      await ask("GET", "/users/me"),
      await ask("PUT", "/records/a.wav", {body: "no WAV", headers}),
      await ask("PUT", "/records/a.wav?bit_rate=1", {body: wav, headers}),
      await ask("PATCH", "/records", {headers}),
    ];
    return answers.map(answer => [answer.status, answer.json().code, answer.header("WWW-Authenticate")]);
    """
    assert run_in(page, serving, script) == [
        [401, "missing_token", "Bearer"],
        [415, "not_wav", None],
        [422, "invalid_bit_rate", None],
        [405, "method_not_allowed", None],
    ]


def test_page_of_another_origin_cannot_use_the_api(page: Page, serving: Serving) -> None:
    with blank_pages() as other:
        page.goto(other)
        script = """
        return [
          await fails(ask("GET", "/health/live")),
          await fails(ask("POST", "/users?username=ann")),
          await fails(ask("GET", "/users/me", {headers: {Authorization: "Bearer x"}})),
          await fails(ask("PUT", "/records/a.wav", {body: wav})),
        ];
        """
        assert run_in(page, serving, script) == [True] * 4


PLAYED = """
const audio = new Audio();
if (shares) audio.crossOrigin = "anonymous";
const duration = await new Promise((resolve, reject) => {
  audio.onloadedmetadata = () => resolve(audio.duration);
  audio.onerror = () => reject(audio.error.message);
  audio.src = url + mp3;
});
"""


def test_page_of_another_origin_reads_and_plays_an_mp3(page: Page, serving: Serving, record: Kept) -> None:
    with blank_pages() as other:
        page.goto(other)
        script = """
        const first = await ask("GET", mp3, {headers: {Range: "bytes=0-99"}});
        const last = await ask("GET", mp3, {headers: {Range: "bytes=-100", "If-Range": '"x"'}});
        const sound = await new OfflineAudioContext(2, 1, 44100).decodeAudioData(
          await (await fetch(url + mp3)).arrayBuffer());
        const refused = await fails(ask("GET", mp3, {credentials: "include"}));
        const lost = await ask("GET", "/records/6f9619ff-8b86-4d01-b42d-00cf4fc964ff.mp3");
        """
        script += (
            PLAYED
            + """
        return {
          status: [first.status, last.status, lost.json().code],
          range: first.header("Content-Range").startsWith("bytes 0-99/"),
          etag: first.header("ETag"), seconds: Math.round(duration), refused,
          samples: Math.abs(sound.length - 44100) < 2000,
        };
        """
        )
        assert run_in(page, serving, script, mp3=f"/records/{record.id}.mp3", shares=True) == {
            "status": [206, 200, "record_not_found"],
            "range": True,
            "etag": f'"{record.sha256}"',
            "seconds": 1,
            "refused": True,
            "samples": True,
        }


def test_page_that_isolates_itself_plays_an_mp3(page: Page, serving: Serving, record: Kept) -> None:
    with blank_pages(Cross_Origin_Opener_Policy="same-origin", Cross_Origin_Embedder_Policy="require-corp") as other:
        page.goto(other)
        script = PLAYED + "return [crossOriginIsolated, Math.round(duration)];"
        assert run_in(page, serving, script, mp3=f"/records/{record.id}.mp3", shares=False) == [True, 1]
