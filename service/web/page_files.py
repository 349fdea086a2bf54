"""Holds the files of the web page, each ready to be sent."""

import gzip
import hashlib
import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import rcssmin
import rjsmin

import service

_FOLDER = Path(service.__file__).parent / "page"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".LICENSE": "text/plain"}
_OF_OTHERS = "vendor"
# Comments, types and white space are for those who read the source; in a browser they would be a third of what is ours.
_MINIFIERS: Mapping[str, Callable[[str], str]] = {".js": rjsmin.jsmin, ".css": rcssmin.cssmin}
_BLANK = re.compile(r"^\s+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page as it is sent, plain and compressed."""

    content_type: str
    body: bytes
    compressed: bytes


def _read(path: Path) -> PageFile:
    body = path.read_bytes()
    minify = _MINIFIERS.get(path.suffix)
    if minify is not None and path.parent.name != _OF_OTHERS:
        body = minify(body.decode()).encode()
    return PageFile(_TYPES[path.suffix], body, gzip.compress(body, mtime=0))


_PATHS = [path for path in sorted(_FOLDER.rglob("*")) if path.suffix in _TYPES]
# By their names below the folder, with slashes.
FILES: Mapping[str, PageFile] = {path.relative_to(_FOLDER).as_posix(): _read(path) for path in _PATHS}
# Their addresses have it, so that a browser can keep them for ever, and fetches all of them when one has changed.
VERSION = hashlib.sha256(b"".join(f"{name}\0".encode() + file.body for name, file in FILES.items())).hexdigest()[:16]
_TEMPLATES = {path.stem: Template(_BLANK.sub("", path.read_text(encoding="utf-8"))) for path in _FOLDER.glob("*.html")}


def fill_template(name: str, *, root: str, **values: object) -> str:
    """Return a page of the folder with these values in it, as text: none of them can become HTML.

    `root` is the address of the front page, seen from the page's own.
    """
    values |= {"root": root, "files": f"{root}page/{VERSION}/"}
    return _TEMPLATES[name].substitute({key: html.escape(str(value)) for key, value in values.items()})
