"""People log in with their password of a real directory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.ports import free_ports
from tracker.errors import BadInput, SetupProblem, Unavailable
from tracker.settings import Settings
from web.auth.ldap import Directory, check_of

from .conftest import Server
from .test_passwords import enter

SECRET = "correct horse battery"
PEOPLE = """
dn: dc=lab
objectClass: dcObject
objectClass: organization
o: lab
dc: lab

dn: ou=people,dc=lab
objectClass: organizationalUnit
ou: people

dn: cn=searcher,dc=lab
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: searcher
userPassword: looking for people

dn: uid=alice,ou=people,dc=lab
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
employeeType: staff
userPassword: correct horse battery

dn: uid=star*,ou=people,dc=lab
objectClass: inetOrgPerson
uid: star*
cn: Odd
sn: O
userPassword: correct horse battery

dn: cn=first,ou=people,dc=lab
objectClass: inetOrgPerson
uid: twin
cn: first
sn: T
userPassword: correct horse battery

dn: cn=second,ou=people,dc=lab
objectClass: inetOrgPerson
uid: twin
cn: second
sn: T
userPassword: correct horse battery
"""
CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=searcher,dc=lab" read by * none
database mdb
suffix dc=lab
directory {folder}/data
maxsize 10485760
"""


class Slapd:
    """Debian's, on loopback, with a certificate of its own for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain, self.tls = (
            f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(("ldap", "ldaps"), free_ports(2))
        )
        self.certificate = folder / "certificate.pem"
        (folder / "data").mkdir()
        (folder / "slapd.conf").write_text(CONFIGURATION.format(folder=folder))
        (folder / "people.ldif").write_text(PEOPLE)
        (folder / "password").write_text("looking for people\n")
        self._do(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=directory", "-days", "2",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", self.certificate,
        )  # fmt: skip
        self._do("/usr/sbin/slapadd", "-f", folder / "slapd.conf", "-l", folder / "people.ldif")
        words = ["/usr/sbin/slapd", "-h", f"{self.plain} {self.tls}", "-f", str(folder / "slapd.conf"), "-d", "0"]
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)

    @staticmethod
    def _do(*words: object) -> None:
        subprocess.run([str(word) for word in words], check=True, capture_output=True)

    def settings(self, **more: str) -> dict[str, str]:
        """The settings for a server that asks it."""
        return {
            "logins": "local ldap", "ldap_url": self.plain, "ldap_ca_file": str(self.certificate),
            "ldap_base": "ou=people,dc=lab", "ldap_bind_dn": "cn=searcher,dc=lab",
            "ldap_bind_password_file": str(self.folder / "password"), **more,
        }  # fmt: skip

    def check(self, **more: str) -> Callable[[str, str], str | None]:
        return check_of(Settings(**self.settings(**more)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    server = Slapd(tmp_path_factory.mktemp("slapd"))

    def answers() -> bool:
        try:
            return server.check()("alice", SECRET) == "alice"
        except Unavailable:
            return False

    try:
        wait_until(answers)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(timeout=30)


def test_a_password_of_the_directory_opens_a_session(serve_on_sqlite: Callable[..., Server], slapd: Slapd) -> None:
    server = serve_on_sqlite(**slapd.settings())
    answer = enter(server, "alice", SECRET)
    assert answer.status == 303
    assert ">alice<" in server.ask("/", Cookie=answer.headers["Set-Cookie"].partition(";")[0]).text
    assert enter(server, "alice", "wrong").status == 401
    assert enter(server, "nobody", SECRET).status == 401


@pytest.mark.parametrize(
    "user",
    [
        "*",
        "a*",
        "alic?",
        "alice)(uid=*",
        "*)(|(uid=*",
        "alice\\2a",
        "(uid=alice)",
        "star*\\",
        "nobody)(|(objectClass=*",
    ],
)
def test_no_name_is_a_filter(slapd: Slapd, user: str) -> None:
    assert slapd.check()(user, SECRET) is None


def test_what_looks_like_a_filter_can_be_a_name(slapd: Slapd) -> None:
    assert slapd.check()("star*", SECRET) == "star*"


def test_a_name_is_spelt_as_the_directory_spells_it(slapd: Slapd) -> None:
    assert slapd.check()("ALICE", SECRET) == "alice"


def test_who_is_there_twice_is_nobody(slapd: Slapd) -> None:
    assert slapd.check()("twin", SECRET) is None


def test_an_empty_password_is_no_login_as_nobody(serve_on_sqlite: Callable[..., Server], slapd: Slapd) -> None:
    """RFC 4513, 5.1.2: a directory answers a name without a password with success, for nobody."""
    assert enter(serve_on_sqlite(**slapd.settings()), "alice", "").status == 401


def test_a_filter_lets_in_whom_it_fits(slapd: Slapd) -> None:
    assert slapd.check(ldap_filter="(&(uid={user})(employeeType=staff))")("alice", SECRET) == "alice"
    assert slapd.check(ldap_filter="(&(uid={user})(employeeType=guest))")("alice", SECRET) is None


@pytest.mark.parametrize("way", [{}, {"ldap_url": "tls"}, {"ldap_start_tls": "no"}])
def test_tls_is_begun_or_there_from_the_start(slapd: Slapd, way: dict[str, str]) -> None:
    told = {**way, "ldap_url": slapd.tls} if "ldap_url" in way else way
    assert slapd.check(**told)("alice", SECRET) == "alice"


@pytest.mark.parametrize("by", ["tls", "plain"])
def test_a_certificate_that_nobody_trusts_or_of_another_host_is_refused(slapd: Slapd, by: str, tmp_path: Path) -> None:
    url = getattr(slapd, by)
    with pytest.raises(Unavailable, match="does not answer"):
        slapd.check(ldap_url=url, ldap_ca_file="")("alice", SECRET)
    with pytest.raises(Unavailable, match="does not answer"):
        slapd.check(ldap_url=url.replace("127.0.0.1", "localhost"))("alice", SECRET)


def test_a_directory_that_is_away_is_not_a_wrong_password(serve_on_sqlite: Callable[..., Server], slapd: Slapd) -> None:
    (port,) = free_ports(1)
    server = serve_on_sqlite(**slapd.settings(ldap_url=f"ldap://127.0.0.1:{port}"))
    answer = enter(server, "alice", SECRET)
    assert answer.status == 503
    assert "The directory does not answer" in answer.text


def test_a_server_that_may_not_search_says_so(slapd: Slapd, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(Unavailable, match="ldap_bind_dn"):
        slapd.check(ldap_bind_password_file=str(tmp_path / "password"))("alice", SECRET)
    assert slapd.check(ldap_bind_dn="")("alice", SECRET) is None, "as nobody it sees nothing here"


def test_settings_that_cannot_be_are_told_at_the_start(slapd: Slapd) -> None:
    for wrong in ({"ldap_url": ""}, {"ldap_url": "http://x"}, {"ldap_filter": "(uid=alice)"}):
        with pytest.raises(BadInput, match="ldap_"):
            Directory(Settings(**slapd.settings(**wrong)))  # type: ignore[arg-type]
    with pytest.raises(SetupProblem, match="cannot be read"):
        slapd.check(ldap_bind_password_file="/nonexistent")
    with pytest.raises(SetupProblem, match="ldap_ca_file"):
        slapd.check(ldap_ca_file="/nonexistent")
