"""What a real Dovecot makes of a password in each of its schemes and encodings is checked here as there."""

import shutil
import subprocess

import pytest

from aerogramme.errors import Refused
from aerogramme.migrate.users.hashes import parse_hash

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("doveadm") is None, reason="Dovecot is not installed"),
]

PASSWORD = "pass wörd: {x} $1$ [13]"
NOT_HERE = {
    "CRAM-MD5",
    "HMAC-MD5",
    "DIGEST-MD5",
    "PLAIN-MD4",
    "PLAIN-TRUNC",
    "OTP",
    "LANMAN",
    "NTLM",
    "SKEY",
    "RPA",
}


def doveadm(*args: str) -> str:
    # `-c`: no configuration of this machine has a say.
    done = subprocess.run(["doveadm", "-c", "/dev/null", "pw", *args], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def test_every_scheme_that_dovecot_has() -> None:
    schemes = set(doveadm("-l").split())
    assert {"SHA512-CRYPT", "BLF-CRYPT", "SSHA512", "PBKDF2"} <= schemes
    checked = 0
    for scheme in sorted(schemes):
        for encoding in ("", ".b64", ".hex"):
            kept = doveadm("-u", "alice@example.org", "-s", scheme + encoding, "-p", PASSWORD)
            if scheme in NOT_HERE:
                with pytest.raises(Refused):
                    parse_hash(kept)
                continue
            hashed = parse_hash(kept)
            assert hashed.setting.digest(PASSWORD.encode()) == hashed.digest, kept
            # what DES looks at is the same up to the 8th octet
            assert hashed.setting.digest(b"x" + PASSWORD.encode()) != hashed.digest, kept
            checked += 1
    assert checked >= 3 * 20
