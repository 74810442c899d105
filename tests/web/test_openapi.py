"""The API is what its OpenAPI document says; programs are made from it, so a change of it is seen in review."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.conftest import ROOT
from tracker.settings import Settings
from web import create_app, problems
from web.api import openapi

from .conftest import Server

SNAPSHOT = ROOT / "docs" / "openapi.json"
RENEW = f"{Path(sys.executable).name} -m tests.web.test_openapi"


def made() -> str:
    """The document as the code makes it."""
    application = create_app(Settings(database="postgresql://nobody@127.0.0.1:9/nothing"))
    return json.dumps(openapi.document(application), indent=1, ensure_ascii=False) + "\n"


def test_the_document_is_the_one_that_was_looked_at() -> None:
    assert SNAPSHOT.read_text() == made(), f"renew it: {RENEW}"


def test_every_address_of_the_api_is_described() -> None:
    application = create_app(Settings(database="postgresql://nobody@127.0.0.1:9/nothing"))
    assert openapi.undescribed(application) == []


def test_the_document_is_for_everybody_and_knows_its_prefix(prefixed_server: Server) -> None:
    answer = prefixed_server.ask("/api/v1/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["servers"] == [{"url": "/hpc/tracker/api/v1"}]
    assert answer.json["openapi"] == "3.1.0"
    again = prefixed_server.ask("/api/v1/openapi.json", If_None_Match=answer.headers["ETag"])
    assert again.status == 304


def test_every_code_of_an_error_is_told() -> None:
    told = set(re.findall(r"^\| `(\w+)` \| \d{3} \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE))
    assert told == set(problems.codes())


if __name__ == "__main__":
    SNAPSHOT.write_text(made())
