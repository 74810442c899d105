"""Answers are packed for those who take it: zstd, or gzip."""

from __future__ import annotations

import gzip

import zstandard
from flask import Flask, Response, request

LEAST_BYTES = 1000
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 4
_WORTH_IT = ("text/", "application/json", "application/problem+json", "application/javascript", "image/svg+xml")


def install(app: Flask) -> None:
    """Pack the application's answers."""
    app.after_request(_packed)


def _packed(response: Response) -> Response:
    if not (response.mimetype or "").startswith(_WORTH_IT) or response.mimetype == "text/event-stream":
        return response
    response.vary.add("Accept-Encoding")
    taken = request.accept_encodings
    if not taken or response.direct_passthrough or response.status_code in (204, 206, 304):
        return response
    if response.headers.get("Content-Encoding") or not response.is_sequence:
        return response
    way = taken.best_match(("zstd", "gzip"))
    raw = response.get_data() if way else b""
    if way is None or len(raw) < LEAST_BYTES:
        return response
    zipped = _zstd(raw) if way == "zstd" else gzip.compress(raw, _GZIP_LEVEL, mtime=0)
    response.set_data(zipped)
    response.headers["Content-Encoding"] = way
    etag, weak = response.get_etag()
    if etag and not weak:
        response.set_etag(etag, weak=True)  # the same content, in other bytes
    return response


def _zstd(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(raw)  # not to be shared by threads
