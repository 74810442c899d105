"""What a program puts into a MUNGE credential to log in at a server (docs/security.md).

Both wings write and read it through this file.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

_NONCE = re.compile(r"[0-9a-f]{32}\Z")
_PORTS = {"http": 80, "https": 443}


class Claim(NamedTuple):
    """What a credential is for: the server, as `server_name` names it, and 32 hexadecimal digits used for no other."""

    server: str
    nonce: str

    def packed(self) -> bytes:
        """The payload of the credential."""
        return json.dumps({"tracker": self.server, "nonce": self.nonce}).encode()

    @classmethod
    def read(cls, payload: bytes) -> Claim | None:
        """Read a payload; None when it is that of another program's credential."""
        try:
            said = json.loads(payload)
            server, nonce = said["tracker"], said["nonce"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        usable = isinstance(server, str) and isinstance(nonce, str) and _NONCE.match(nonce)
        return cls(server, nonce) if usable else None


def new_claim(url: str) -> Claim:
    """Return a claim for the server at this address. Raises ValueError for what is no address."""
    return Claim(server_name(url), os.urandom(16).hex())


def server_name(url: str) -> str:
    """Name the server that is meant by an address. Raises ValueError for what is no address.

    Who listens on the loopback of one machine is another one on the next machine, so the machine is in the name, too.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("an address begins with http:// or https://")
    name = f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}{parts.path.rstrip('/')}"
    return f"{name} on {os.uname().nodename}" if _is_loopback(parts.hostname) else name


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified  # Linux connects to the loopback for 0.0.0.0
