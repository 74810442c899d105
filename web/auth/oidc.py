"""Log in with an OpenID provider: the authorization code flow with PKCE, state and nonce.

What must be remembered between the way out and the way back (state, nonce, verifier, where to go on) is in a cookie
of that browser alone: the server keeps nothing of somebody who is nobody yet, and any server may take the way back.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from hmac import compare_digest
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from flask import Blueprint, Flask, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from requests import RequestException

from tracker.errors import BadInput, SetupProblem, Unavailable
from tracker.settings import Settings
from tracker.store import accounts
from tracker.store.tokens import Shown
from web import audit
from web.auth.attempts import require_patience
from web.auth.origin import local_path
from web.auth.session import begin, cookie_name, page
from web.context import db, primary, settings

PATIENCE_S = 5
WAY_LIFETIME_S = 600
_KNOWN_FOR_S = 3600
_SIGNED_BY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Never `none`, and no shared secret."""
_CLOCKS_DIFFER_S = 60


class Provider:
    """An OpenID provider. Raises BadInput for settings that cannot be, SetupProblem for a file that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.oidc_issuer)
        is_here = address.hostname in ("127.0.0.1", "::1", "localhost")
        if address.scheme != "https" and not (address.scheme == "http" and is_here):
            raise BadInput("`oidc_issuer` is such as https://login.example.org/realms/lab.")
        if not settings.oidc_client_id:
            raise BadInput("`oidc_client_id` is missing: the provider gives one to each service that it knows.")
        self._issuer, self._client_id = settings.oidc_issuer, settings.oidc_client_id
        self._claim, self._scopes = settings.oidc_user_claim, settings.oidc_scopes
        self._secret = _content(settings.oidc_client_secret_file)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[dict[str, Any], float]] = {}

    def address(self, back_to: str, way: dict[str, str]) -> str:
        """Where to send the browser. Raises Unavailable while the provider does not answer."""
        session = self._session(back_to)
        url, _ = session.create_authorization_url(
            self._facts()["authorization_endpoint"],
            state=way["state"], nonce=way["nonce"], code_verifier=way["verifier"],
        )  # fmt: skip
        return cast(str, url)

    def user_of(self, code: str, back_to: str, way: dict[str, str]) -> str | None:
        """Who came back with this code, None if the provider does not say so. Raises Unavailable."""
        try:
            session = self._session(back_to)
            facts = self._facts()
            token = session.fetch_token(
                facts["token_endpoint"], code=code, code_verifier=way["verifier"], timeout=PATIENCE_S
            )
            told = self._verified(token["id_token"], way["nonce"])
            if self._claim not in told and "userinfo_endpoint" in facts:
                more = session.get(facts["userinfo_endpoint"], timeout=PATIENCE_S).json()
                told = {**more, **told} if more.get("sub") == told["sub"] else told
        except RequestException as problem:
            raise _away(problem) from None
        except (AuthlibBaseError, JoseError, KeyError, ValueError, TypeError, AttributeError):
            return None
        if self._claim == "email" and told.get("email_verified") is not True:
            return None
        name = told.get(self._claim)
        return name if isinstance(name, str) else None

    def _session(self, back_to: str) -> OAuth2Session:
        return OAuth2Session(
            self._client_id, self._secret, scope=self._scopes, redirect_uri=back_to, code_challenge_method="S256"
        )

    def _verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        """What a signed token says. Raises JoseError for one that is not the provider's, not ours, old or replayed."""
        try:
            told = jwt.decode(id_token, self._keys(), algorithms=_SIGNED_BY)
        except (JoseError, ValueError):  # it may have new keys
            told = jwt.decode(id_token, self._keys(anew=True), algorithms=_SIGNED_BY)
        own = jwt.ClaimsOption(essential=True, value=self._client_id)
        jwt.JWTClaimsRegistry(
            leeway=_CLOCKS_DIFFER_S, iss={"essential": True, "value": self._issuer}, aud=own, sub={"essential": True},
            exp={"essential": True}, nonce={"essential": True, "value": nonce}, azp={"value": self._client_id},
        ).validate(told.claims)  # fmt: skip
        return told.claims

    def _keys(self, anew: bool = False) -> KeySet:
        told: Any = self._json(self._facts()["jwks_uri"], anew)
        return KeySet.import_key_set(told)

    def _facts(self) -> dict[str, Any]:
        """What the provider says of itself. Raises Unavailable, also when it says to be another one."""
        facts = self._json(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if facts.get("issuer") != self._issuer:
            raise Unavailable("The provider calls itself by another name than `oidc_issuer`.")
        return facts

    def _json(self, url: str, anew: bool = False) -> dict[str, Any]:
        """A document of the provider, asked for once an hour, or anew once a minute."""
        with self._lock:
            known, at_s = self._known.get(url, ({}, -float(_KNOWN_FOR_S)))
        age_s = time.monotonic() - at_s
        if age_s < (60 if anew else _KNOWN_FOR_S) and known:
            return known
        try:
            answered = requests.get(url, timeout=PATIENCE_S, allow_redirects=False)
            answered.raise_for_status()
            told = answered.json()
        except (RequestException, ValueError) as problem:
            raise _away(problem) from None
        with self._lock:
            self._known[url] = told, time.monotonic()
        return cast("dict[str, Any]", told)


oidc = Blueprint("oidc", __name__)


def install(app: Flask, settings: Settings) -> None:
    """Let people log in with the provider of the settings."""
    app.extensions["tracker.oidc"] = Provider(settings)
    app.register_blueprint(oidc)


def _provider() -> Provider:
    return cast(Provider, current_app.extensions["tracker.oidc"])


@oidc.get("/login/oidc")
def go() -> ResponseReturnValue:
    """Send the browser to the provider."""
    require_patience()
    way = {name: secrets.token_urlsafe(48) for name in ("state", "nonce", "verifier")}
    way["next"] = local_path(request.args.get("next", ""))[:1000]
    try:
        response = redirect(_provider().address(_back_to(), way), 303)
    except Unavailable as problem:
        return page(way["next"], str(problem)), 503
    kept = base64.urlsafe_b64encode(json.dumps(way).encode()).decode()
    response.set_cookie(
        _cookie_name(), kept, max_age=WAY_LIFETIME_S, path=request.script_root or "/",
        httponly=True, samesite="Lax", secure=request.is_secure,
    )  # fmt: skip
    return response


@oidc.get("/login/oidc/back")
def back() -> ResponseReturnValue:
    """Whoever comes back from the provider."""
    require_patience()
    way, code = _way(), request.args.get("code", "")
    if way is None or not compare_digest(way["state"].encode(), request.args.get("state", "").encode()):
        audit.note_refusal("login.refused", "", "oidc: not begun in this browser")
        return page("", "This login was begun in another browser, or too long ago: try again."), 400
    try:
        name = _provider().user_of(code, _back_to(), way) if code else None
    except Unavailable as problem:
        return page(way["next"], str(problem)), 503
    shown = _let_in(name) if name is not None and accounts.is_user_name(name) else None
    if shown is None:
        audit.note_refusal("login.refused", (name or "")[:64], "oidc")
        return page(way["next"], "The provider names nobody who may come in here."), 401
    with primary().write() as session:
        response = begin(session, shown, "oidc", way["next"])
    response.delete_cookie(_cookie_name(), path=request.script_root or "/", secure=request.is_secure, httponly=True)
    return response


def _let_in(name: str) -> Shown | None:
    with db().read() as session:
        identity = accounts.who(session, name, settings().admins.split())
    return None if identity is None else Shown(identity)


def _back_to() -> str:
    own = settings().url.rstrip("/")
    return own + "/login/oidc/back" if own else url_for("oidc.back", _external=True)


def _cookie_name() -> str:
    return f"{cookie_name()}_oidc"


def _way() -> dict[str, str] | None:
    try:
        told = json.loads(base64.urlsafe_b64decode(request.cookies.get(_cookie_name(), "")))
        return {name: str(told[name]) for name in ("state", "nonce", "verifier", "next")}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _away(problem: Exception) -> Unavailable:
    return Unavailable(f"The provider does not answer ({type(problem).__name__}): try again later.")


def _content(path: str) -> str | None:
    try:
        return Path(path).read_text().strip() if path else None
    except OSError as problem:
        raise SetupProblem(
            f"The file {path} of `oidc_client_secret_file` cannot be read: {problem.strerror}."
        ) from None
