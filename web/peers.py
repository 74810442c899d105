"""Where a request comes from: the peer of the connection, or whom a trusted proxy names."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import cast

from flask import Flask, current_app, request

from tracker.errors import BadInput
from tracker.settings import Settings

UNIX = "unix"
"""The word for whoever may open the server's Unix socket."""


@dataclass(frozen=True)
class Trusted:
    """The proxies whose word is believed."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool

    @classmethod
    def of(cls, words: str) -> Trusted:
        """Those of the setting `trusted_proxies`. Raises BadInput."""
        named = words.replace(",", " ").split()
        try:
            return cls(tuple(ip_network(word) for word in named if word != UNIX), UNIX in named)
        except ValueError as problem:
            raise BadInput(
                f"`trusted_proxies` are addresses such as 10.0.0.7 or 10.0.0.0/24, or unix: {problem}."
            ) from None

    def __contains__(self, address: str) -> bool:
        if not address:
            return self.unix
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.networks)


def install(app: Flask, settings: Settings) -> None:
    """Let the application know its proxies."""
    app.extensions["tracker.proxies"] = Trusted.of(settings.trusted_proxies)


def is_trusted_proxy() -> bool:
    """Whether the request comes over a connection of a trusted proxy."""
    return (request.remote_addr or "") in cast(Trusted, current_app.extensions["tracker.proxies"])


def address() -> str:
    """The address that the request comes from; of what proxies say only what was written by trusted ones.

    Each proxy appends whom it heard to `X-Forwarded-For`; what stands before the first untrusted one anybody may have
    sent.
    """
    trusted = cast(Trusted, current_app.extensions["tracker.proxies"])
    found = request.remote_addr or ""
    told = [one.strip() for one in request.headers.get("X-Forwarded-For", "")[-1000:].split(",")]
    while found in trusted and told:
        named = told.pop()
        try:
            found = str(ip_address(named))
        except ValueError:
            break
    return found
