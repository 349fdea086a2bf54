"""The image and a PostgreSQL that speaks TLS: its certificate is checked."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.compose import run, until

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

TLS_SERVER = (
    "install -o postgres -m 600 /certs/server.key /tmp/server.key && exec docker-entrypoint.sh postgres"
    " -c ssl=on -c ssl_key_file=/tmp/server.key -c ssl_cert_file=/certs/server.pem"
)


@pytest.fixture
def tls_network(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A network with a PostgreSQL named `database` whose certificate says so, and where the certificates are."""
    authority = trustme.CA()
    issued = authority.issue_cert("database")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)
    network = run("docker", "network", "create", f"wavepress-tls-{os.getpid()}").strip()
    options = ["--network", network, "--network-alias", "database", "--volume", f"{tmp_path}:/certs:ro"]
    options += ["--env", "POSTGRES_USER=wavepress", "--env", "POSTGRES_PASSWORD=wavepress", "--entrypoint", "sh"]
    database = run("docker", "run", "--detach", *options, "postgres:17", "-euc", TLS_SERVER).strip()
    try:
        ask = ("docker", "exec", database, "pg_isready", "--username", "wavepress", "--host", "127.0.0.1")
        until(lambda: "accepting" in run(*ask, check=False))
        yield network, tmp_path
    finally:
        run("docker", "rm", "--force", "--volumes", database)
        run("docker", "network", "rm", network)


@pytest.mark.parametrize(("certificate", "word"), [("ca.pem", "migrated"), ("other.pem", "certificate verify failed")])
def test_certificate_of_a_postgresql_over_tls_is_checked(
    image: str, tls_network: tuple[str, Path], certificate: str, word: str
) -> None:
    network, certificates = tls_network
    url = "postgresql://wavepress:wavepress@database/wavepress?sslmode=verify-full&sslrootcert=/certs"
    options = ["--network", network, "--volume", f"{certificates}:/certs:ro"]
    options += ["--env", f"WAVEPRESS_DATABASE_URL={url}/{certificate}"]
    assert word in run("docker", "run", "--rm", *options, image, "migrate", check=False)
    doctor = run("docker", "run", "--rm", *options, image, "doctor", check=False)
    assert ("database: ok" in doctor) == (word == "migrated")
