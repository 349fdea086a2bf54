"""Writes the lines with which a person tries the service at the terminal."""

from service.accounts.registration import Mode

_TEXT = '-H "Accept: text/plain"'


def curl_lines(url: str, *, mode: Mode = "open", wav: str | None = None) -> str:
    """Return the lines that make a user, upload a WAV and download its MP3.

    Without a path of a WAV, they begin by fetching the sample. `mode` is who may create users: if that is not
    everybody, the reader fills in a token. A refusal is printed, and then the last line fails.
    """
    send = f'-T {wav or "talk.wav"} -H "Authorization: Bearer $TOKEN" {_TEXT} {url}/records/'
    return "\n".join(
        [
            *([] if wav else [f"curl -fsSO {url}/examples/talk.wav"]),
            *_lines_for_token(url, mode),
            f'URL=$(curl -sS --fail-with-body {send}) || echo "$URL"',
            'curl -fsSo talk.mp3 "$URL" && ls -l talk.mp3',
        ]
    )


def _lines_for_token(url: str, mode: Mode) -> list[str]:
    if mode == "closed":
        return ["TOKEN='the token that the operator of this service gave you'"]
    create = f"TOKEN=$(curl -sS --fail-with-body {url}/users -d username=ann {_TEXT}"
    if mode == "open":
        return [f'{create}) || echo "$TOKEN"']
    return [
        "REGISTRATION_TOKEN='the registration token of this service'",
        f'{create} -H "Authorization: Bearer $REGISTRATION_TOKEN") || echo "$TOKEN"',
    ]
