"""The image by itself: what it holds, its health check, and how it reports wrong settings."""

import subprocess

import pytest

from tests.support.compose import in_container, run, state, until

LARGEST_IMAGE = 240e6  # bytes

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


def test_image_has_what_it_needs_and_nothing_else(image: str) -> None:
    config = state(image)["Config"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT AND LGPL-2.1-or-later AND GPL-1.0-or-later"
    assert in_container(image, "command -v gcc cc make; find /opt -name 'pip' -o -name 'pip-*'") == ""
    assert "None" in in_container(image, "python -c 'import importlib.util as i; print(i.find_spec(\"pytest\"))'")
    assert state(image)["Size"] < LARGEST_IMAGE


def test_image_has_our_own_ffmpeg_with_its_licences_and_no_other(image: str) -> None:
    found = in_container(image, "find / -xdev -name '*ffmpeg*' -type f -perm -111 2>/dev/null || true")
    assert found.split() == ["/opt/wavepress/ffmpeg/bin/ffmpeg"]
    code = "from service.audio.ffmpegs import default_ffmpeg as d; print(d().path)"
    assert in_container(image, f"python -c '{code}'").split() == found.split()
    assert "GNU Lesser General Public" in in_container(image, f"{found.strip()} -L")
    assert "GNU Lesser General Public License" in in_container(image, "cat /usr/share/doc/wavepress/NOTICE")
    texts = in_container(image, "cd /opt/wavepress/ffmpeg/share/doc && cat SOURCES ffmpeg/COPYING* lame/COPYING")
    for words in ("lame_3.100", "GNU LESSER GENERAL PUBLIC LICENSE", "GNU LIBRARY GENERAL PUBLIC LICENSE"):
        assert words in texts


def test_image_starts_ffmpeg_and_draws_waveforms_by_our_own_code(image: str) -> None:
    find = "from service.audio.native import native_library; print(native_library())"
    assert "/opt/wavepress/ffmpeg/lib/libwavepress.so" in in_container(image, f'python -c "{find}"')


def test_user_is_a_number_for_kubernetes(image: str) -> None:
    assert state(image)["Config"]["User"] == "10001:10001"
    assert in_container(image, "id -un; id -gn; stat -c %u:%g /data") == "wavepress\nwavepress\n10001:10001\n"


def test_image_leaves_no_anonymous_volume(image: str) -> None:
    assert not state(image)["Config"].get("Volumes")


def test_health_check_asks_the_service_itself(image: str) -> None:
    check = state(image)["Config"]["Healthcheck"]
    assert check["StartInterval"] == 1_000_000_000
    container = run("docker", "run", "--detach", "--entrypoint", "sleep", image, "60").strip()
    try:
        command = ["docker", "exec", container, *check["Test"][1:]]
        assert "refused" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
        # Another server on that port, without /health/live: it answers 404.
        run("docker", "exec", "--detach", container, "python", "-m", "http.server", "8001")
        until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 1)
        run("docker", "exec", "--workdir", "/tmp", container, "sh", "-c", "mkdir -p health && touch health/live")  # noqa: S108 - the container's
        run("docker", "exec", "--detach", "--workdir", "/tmp", container, "python", "-m", "http.server", "8002")  # noqa: S108 - as above
        other_port = ["docker", "exec", "--env", "WAVEPRESS_PORT=8002", container, *check["Test"][1:]]
        until(lambda: subprocess.run(other_port, capture_output=True, check=False).returncode == 0)
    finally:
        run("docker", "rm", "--force", container)


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"WAVEPRESS_PORT": "many"}, "WAVEPRESS_PORT"),
        ({"WAVEPRESS_DATABASE_URL_FILE": "/run/secrets/none"}, "WAVEPRESS_DATABASE_URL_FILE"),
        ({"WAVEPRESS_STORAGE_URL": "bucket"}, "s3://bucket/prefix or file:///directory"),
        ({"WAVEPRESS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "database"),
        ({}, "set WAVEPRESS_DATABASE_URL"),
        ({}, "run docker compose up"),
    ],
)
def test_wrong_configuration_gives_a_message_and_an_exit_status(
    image: str, variables: dict[str, str], word: str
) -> None:
    options = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    command = ["docker", "run", "--rm", *options, image]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode != 0
    assert word in found.stderr
    assert "pip" not in found.stderr
    assert "Traceback" not in found.stderr
