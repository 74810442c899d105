"""Passwords of an LDAP directory: the user is searched for, and their own password opens it or does not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars

from tracker.errors import BadInput, SetupProblem, Unavailable
from tracker.settings import Settings
from web.auth.ways import Check

PATIENCE_S = 5
_AWAY = (51, 52, 80)  # busy, unavailable, other: RFC 4511, 4.1.9


class _Tls(ldap3.Tls):  # type: ignore[misc]  # ldap3 carries no types
    """TLS as Python has it: the certificate must be right, and the host's. The library's own check of hosts is old."""

    def __init__(self, ca_file: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        try:
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except OSError as problem:  # ssl.SSLError is one
            raise SetupProblem(f"The file {ca_file} of `ldap_ca_file` cannot be used: {problem.strerror}.") from None

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Called by the library with a connection that shall be safe from now on."""
        connection.socket = self._context.wrap_socket(connection.socket, server_hostname=connection.server.host)


class Directory:
    """A directory. Raises BadInput for settings that cannot be, SetupProblem for a file that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        scheme, _, host = settings.ldap_url.partition("://")
        if scheme not in ("ldap", "ldaps") or not host:
            raise BadInput("`ldap_url` is such as ldaps://ldap.example.org or ldap://ldap.example.org:389.")
        if "{user}" not in settings.ldap_filter:
            raise BadInput("`ldap_filter` is such as (uid={user}).")
        tls = _Tls(settings.ldap_ca_file)
        self._server = ldap3.Server(settings.ldap_url, tls=tls, connect_timeout=PATIENCE_S, get_info=ldap3.NONE)
        self._start_tls = scheme == "ldap" and settings.ldap_start_tls == "yes"
        self._base, self._filter, self._name = settings.ldap_base, settings.ldap_filter, settings.ldap_user_attribute
        self._searcher = settings.ldap_bind_dn or None
        self._password = _content(settings.ldap_bind_password_file) if self._searcher else None

    def user_of(self, user: str, password: str) -> str | None:
        """The name of this user in the directory's own spelling, None unless it is theirs and so is the password.

        Raises Unavailable while the directory does not answer.
        """
        try:
            found = self._found(user)
            if found is None:
                return None
            dn, name = found
            with self._opened(dn, password) as connection:
                return name if connection.bound else None
        except LDAPException as problem:
            raise Unavailable(f"The directory does not answer ({type(problem).__name__}): try again later.") from None

    def _found(self, user: str) -> tuple[str, str] | None:
        """Where the user is and their name; None if there is nobody, or more than one."""
        with self._opened(self._searcher, self._password) as connection:
            if not connection.bound:
                raise Unavailable("The directory does not let this server search: see `ldap_bind_dn`.")
            wanted = self._filter.replace("{user}", escape_filter_chars(user))
            connection.search(self._base, wanted, attributes=[self._name], size_limit=2, time_limit=PATIENCE_S)
            entries = [one for one in connection.response or () if one["type"] == "searchResEntry"]
            names = entries[0]["attributes"].get(self._name) if len(entries) == 1 else None
            name = names[0] if isinstance(names, list) and names else names
            return (entries[0]["dn"], name) if isinstance(name, str) and name else None

    @contextmanager
    def _opened(self, dn: str | None, password: str | None) -> Iterator[Any]:
        """A connection, bound if the directory takes the password. Referrals would carry the password elsewhere."""
        connection = ldap3.Connection(
            self._server, dn, password, authentication=ldap3.SIMPLE if dn else ldap3.ANONYMOUS,
            auto_referrals=False, read_only=True, receive_timeout=PATIENCE_S,
        )  # fmt: skip
        try:
            connection.open()
            if self._start_tls:
                connection.start_tls()
            connection.bind()
            if connection.result["result"] in _AWAY:
                raise Unavailable(f"The directory does not answer ({connection.result['description']}).")
            yield connection
        finally:
            with suppress(LDAPException):  # there may be no connection left to end
                connection.unbind()
            if connection.socket is not None:
                connection.socket.close()


def check_of(settings: Settings) -> Check:
    """The check of passwords by the directory of the settings."""
    return Directory(settings).user_of


def _content(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as problem:
        raise SetupProblem(
            f"The file {path} of `ldap_bind_password_file` cannot be read: {problem.strerror}."
        ) from None
