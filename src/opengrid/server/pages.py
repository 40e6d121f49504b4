"""The built page, as files: hashed assets for good, index.html for every address that the page itself understands."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from opengrid.core.errors import NotFound

#: Where the build puts the page: inside the package, not in git.
BUILT = Path(__file__).parents[1] / "_ui"

#: What the page may do: load what we serve, talk to us. Inline styles are what its widgets set; scripts never are.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
_PAGE = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", "Cross-Origin-Opener-Policy": "same-origin"}

#: Names in `assets/` hold a hash of their content.
_FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}

#: Below these nothing is a page.
_NO_PAGES = frozenset({"api", "agent", "assets", "healthz"})

_NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenGrid</title></head>
<body><h1>OpenGrid</h1>
<p>The server runs, and the command line and its API work. Its web page has not been built: in a clone,
<code>make ui</code> builds it. Then load this page again.</p></body></html>
"""


def pages(built: Path = BUILT) -> APIRouter:
    """Return the routes of the page; to be included last, because they answer every address that is nobody else's."""
    api = APIRouter(include_in_schema=False)

    @api.get("/assets/{path:path}")
    def asset(path: str, request: Request) -> Response:
        file = _file_in(built / "assets", path)
        if file is None:
            raise NotFound(f"there is no asset {path!r}", hint="the page was built anew: load it again")
        return _sent(file, request, _FOR_GOOD)

    @api.get("/{path:path}")
    def page(path: str, request: Request) -> Response:
        if path.partition("/")[0] in _NO_PAGES:
            raise NotFound(f"there is nothing at /{path}")
        if not (built / "index.html").is_file():
            return HTMLResponse(_NOT_BUILT, status_code=503 if path else 200, headers=_PAGE)
        file = _file_in(built, path) or built / "index.html"
        return _sent(file, request, _PAGE)

    return api


def _file_in(folder: Path, path: str) -> Path | None:
    """Return the file of that path if it lies in the folder, whatever the path tries."""
    try:
        file = (folder / path).resolve()
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except (OSError, ValueError):  # longer than a path can be, or with a NUL
        return None


def _sent(file: Path, request: Request, headers: dict[str, str]) -> Response:
    """Return the file, or what the build has compressed of it for browsers that understand that."""
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    compressed = file.with_name(f"{file.name}.gz")
    if "gzip" in request.headers.get("accept-encoding", "") and compressed.is_file():
        headers = {**headers, "Content-Encoding": "gzip"}
        file = compressed
    return FileResponse(file, media_type=kind, headers={**headers, "Vary": "Accept-Encoding"})
