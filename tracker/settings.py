"""Settings: one table from which the sample file, the reference page and `tracker config` are made.

A setting's value is looked up in the environment (`TRACKER_` and its name in capitals), then in
`~/.config/tracker/tracker.toml`, then in `/etc/tracker/tracker.toml`, then its default is taken.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from tracker.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = (Path("/etc/tracker/tracker.toml"), Path("~/.config/tracker/tracker.toml"))
"""Where settings are read from; a later file wins."""
MOST_DAYS = 36_500
"""The longest that anything can be kept for, but for ever."""


def _setting(
    default: Any, sentence: str, *, least: float | None = None, most: float | None = None,
    choices: tuple[str, ...] = (), in_files: bool = True,
) -> Any:  # fmt: skip
    told = {"sentence": sentence, "least": least, "most": most, "choices": choices, "in_files": in_files}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Settings:
    """What can be set, with defaults."""

    home: str = _setting(
        "~/.local/share/tracker",
        "The one folder in which `tracker up` keeps database, spool, artifacts and keys.",
        in_files=False,  # programs in jobs look for their spool in it, and they read no settings files
    )
    artifacts: str = _setting(
        "",
        "Where copies of artifacts are kept, a folder or `s3://bucket/prefix`; empty: `artifacts` in `home`.",
        in_files=False,  # as `home`
    )
    spool_limit: str = _setting(
        "1GB",
        "How much all files of one job may take of a spool, such as `512MB`; units are powers of 1024.",
        in_files=False,  # as `home`
    )
    database: str = _setting("", "Where runs and metrics are kept, a URL; empty: SQLite in `home`.")
    database_replica: str = _setting(
        "", "A streaming replica of a `database` of PostgreSQL, a URL: who only looks is answered from it."
    )
    replica_max_lag_s: float = _setting(
        10.0, "Seconds that the replica may be behind; then the primary is read instead.", least=0
    )
    url: str = _setting("", "The server's address in login links; empty: that of the server that runs on `home`.")
    other_urls: str = _setting(
        "",
        "Further addresses by which programs know the server, separated by spaces: who logs in by MUNGE says for which "
        "server that is.",
    )
    munge_socket: str = _setting("", "The socket of munged; empty: its usual one.")
    slurm_users: str = _setting("slurm", "Users who may report for all jobs by MUNGE as root may: Slurm's own user.")
    listen: str = _setting(
        "127.0.0.1", "The address the server listens on; `unix:/path`: a Unix socket, for a proxy on the same machine."
    )
    port: int = _setting(8265, "The port the server listens on; 0: a free one.", least=0)
    web_workers: int = _setting(2, "Processes that answer requests.", least=1)
    web_threads: int = _setting(8, "Requests that one process answers at the same time.", least=1)
    log_requests: str = _setting(
        "",
        "Whether the server logs a line for each request, `yes` or `no`; empty: `tracker server` does, "
        "`tracker up` does not.",
        choices=("", "yes", "no"),
    )
    rate_limit: str = _setting(
        "20000/minute", "Requests that each process answers one user, such as `600/minute`; empty: any number."
    )
    rate_limit_storage: str = _setting(
        "", "Where requests are counted for all processes and servers together, such as `redis://host:6379/0`."
    )
    logins: str = _setting(
        "link local",
        "Ways to log in, separated by spaces: `link` (of `tracker login`), `local` (passwords of `tracker user`), "
        "`ldap`, `pam`, `oidc`, `proxy`, `munge`.",
    )
    login_limit: str = _setting(
        "10/minute",
        "Attempts to log in with one account, and five times as many from one address; empty: any number.",
    )
    admins: str = _setting("", "Users who are administrators, however they log in; separated by spaces.")
    trusted_proxies: str = _setting(
        "",
        "Addresses or networks of proxies whose word on where a request comes from is believed (`X-Forwarded-For`, "
        "`X-Forwarded-Proto`), separated by spaces; `unix`: whoever may open the server's Unix socket.",
    )
    proxy_user_header: str = _setting(
        "", "The header in which a trusted proxy names the user that it has let in, such as `X-Remote-User`."
    )
    ldap_url: str = _setting("", "The directory, such as `ldaps://ldap.example.org`.")
    ldap_start_tls: str = _setting(
        "yes", "Whether TLS begins on an `ldap://` connection before anything is told.", choices=("yes", "no")
    )
    ldap_ca_file: str = _setting("", "Who signs the directory's certificate; empty: whom the machine trusts.")
    ldap_base: str = _setting("", "Where users are looked for, such as `ou=people,dc=example,dc=org`.")
    ldap_filter: str = _setting("(uid={user})", "Which entry is a user's; with a group: `(&(uid={user})(memberOf=…))`.")
    ldap_user_attribute: str = _setting("uid", "What of the entry is the user's name on the cluster.")
    ldap_bind_dn: str = _setting("", "As whom the server looks for users; empty: as nobody.")
    ldap_bind_password_file: str = _setting("", "A file with the password for that.")
    pam_service: str = _setting("tracker", "The file in /etc/pam.d that says how passwords are checked.")
    oidc_issuer: str = _setting("", "The OpenID provider, such as `https://login.example.org/realms/lab`.")
    oidc_name: str = _setting("your organisation", 'What people call the provider: "Log in with …".')
    oidc_client_id: str = _setting("", "By what the provider knows this server.")
    oidc_client_secret_file: str = _setting("", "A file with what the provider gave out for that; empty: nothing.")
    oidc_scopes: str = _setting("openid profile", "What the provider is asked for.")
    oidc_user_claim: str = _setting(
        "preferred_username",
        "What the provider tells that is the user's name on the cluster. Users must not choose it.",
    )
    stream_clients: int = _setting(
        200, "Streams of events (`/api/v1/stream`) that one process feeds; they take no thread.", least=0
    )
    cors_origins: str = _setting(
        "", "Sites whose pages may read the API with a token, such as `https://lab.example.org`; separated by spaces."
    )
    watch_interval_s: float = _setting(
        1.0, "Seconds between two looks at Slurm's queue while jobs change, if Slurm answers quickly.", least=0.1
    )
    watch_idle_interval_s: float = _setting(
        4.0, "Seconds between two looks when no job has changed for half a minute.", least=0.1
    )
    watch_users: str = _setting(
        "",
        "Whose jobs are followed: `all` or `self`; empty: `all` for root, `self` for others.",
        choices=("", "all", "self"),
    )
    slurm_timeout_s: float = _setting(
        20.0, "Seconds after which a Slurm command that does not answer is given up.", least=0.1
    )
    lost_after_s: int = _setting(
        3600,
        "Seconds after which a run outside Slurm is LOST if nothing is heard of it, until it speaks again; 0: never.",
        least=0,
    )
    slurm_source: str = _setting(
        "auto",
        "How Slurm is asked: by its `commands`, by `rest` (slurmrestd) or by `pyslurm`; `auto`: by commands where "
        "there are any, with pyslurm where one of Slurm's release is installed.",
        choices=("auto", "commands", "rest", "pyslurm"),
    )
    slurmrestd: str = _setting("", "Where slurmrestd listens, `unix:/path` or `http://host:port`.")
    slurmrestd_token_file: str = _setting(
        "", "A file with a token of `scontrol token` for slurmrestd; it may be renewed while it is in use."
    )
    slurmrestd_user: str = _setting("", "Whose the token for slurmrestd is; empty: who runs the watcher.")
    log_tail_bytes: int = _setting(
        1048576, "Bytes of each output stream of a job that are kept, the last ones.", least=1024
    )
    sample_every_s: int = _setting(
        15,
        "Seconds between two samples of what scripts use of the machine of `tracker up`, up to 3600; 0: none.",
        least=0,
    )

    audit_days: int = _setting(
        365, "Days after which `tracker db prune` removes entries of the audit log; 0: never.", least=0
    )
    purge_deleted_after_days: int = _setting(
        30, "Days after which `tracker db prune` removes deleted runs for good.", least=0, most=MOST_DAYS
    )
    thin_points_after_days: int = _setting(
        0,
        "Days after its end at which `tracker db prune` thins a run's points to 1,000 a series; 0: never. "
        "`tracker db retention` says otherwise for an experiment.",
        least=0,
        most=MOST_DAYS,
    )
    drop_points_after_days: int = _setting(
        0,
        "Days after its end at which `tracker db prune` drops a run's points; its summaries stay; 0: never. "
        "`tracker db retention` says otherwise for an experiment.",
        least=0,
        most=MOST_DAYS,
    )

    @property
    def home_path(self) -> Path:
        """`home` as a path."""
        return Path(self.home).expanduser()

    @property
    def database_url(self) -> str:
        """The URL of the database, SQLite in `home` when none is set."""
        return self.database or f"sqlite:///{self.home_path / 'tracker.db'}"

    @property
    def artifacts_path(self) -> Path | None:
        """The folder with copies of artifacts; None when they are kept in S3."""
        if self.artifacts.startswith("s3://"):
            return None
        return Path(self.artifacts).expanduser() if self.artifacts else self.home_path / "artifacts"

    @property
    def spool_path(self) -> Path:
        """The spool of those who run without hooks."""
        return self.home_path / "spool"


def load(environ: Mapping[str, str] = os.environ, files: tuple[Path, ...] = FILES, **given: Any) -> Settings:
    """Look all settings up; `given` wins unless None. Raises BadInput for an unknown name or a value that cannot be."""
    found: dict[str, Any] = {}
    known = {one.name: one for one in fields(Settings)}
    for path in files:
        said = _read(path.expanduser())
        for name in said:
            if name not in known or not known[name].metadata["in_files"]:
                there = ", ".join(one for one in known if known[one].metadata["in_files"])
                raise BadInput(f"{path} has a setting `{name}`; there can be: {there}.")
        found.update(said)
    for name in known:
        if environ.get(f"TRACKER_{name.upper()}"):
            found[name] = environ[f"TRACKER_{name.upper()}"]
    found.update({name: value for name, value in given.items() if value is not None})
    return Settings(**{name: _checked(known[name], value) for name, value in found.items()})


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return {}
    except tomllib.TOMLDecodeError as problem:
        raise BadInput(f"{path} is not TOML: {problem}.") from None


def _checked(one: Field[Any], value: Any) -> Any:
    kind: Any = type(one.default)
    least, most, choices = one.metadata["least"], one.metadata["most"], one.metadata["choices"]
    try:
        value = kind(value)
    except (TypeError, ValueError):
        raise BadInput(f"Setting `{one.name}` must be {kind.__name__}, not {value!r}.") from None
    if least is not None and value < least:
        raise BadInput(f"Setting `{one.name}` is at least {least}, not {value}.")
    if most is not None and value > most:
        raise BadInput(f"Setting `{one.name}` is at most {most}, not {value}.")
    if choices and value not in choices:
        raise BadInput(f"Setting `{one.name}` is one of {', '.join(filter(None, choices))}, not {value!r}.")
    return value


def sample() -> str:
    """A tracker.toml with every setting at its default, as comments."""
    lines = ["# Settings of tracker: /etc/tracker/tracker.toml or ~/.config/tracker/tracker.toml", ""]
    for one in fields(Settings):
        if not one.metadata["in_files"]:
            continue
        value = f'"{one.default}"' if isinstance(one.default, str) else one.default
        lines += [f"# {one.metadata['sentence']}", f"# {one.name} = {value}", ""]
    return "\n".join(lines)
