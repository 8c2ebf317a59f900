"""What Dovecot keeps of passwords is read as Dovecot reads it. All of these are of one password, and were
made by `doveadm pw` (2.3.19) unless it says otherwise."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import AuthenticationFailed, Refused
from aerogramme.migrate.users.hashes import parse_hash
from aerogramme.seal.hashes import MAX_SETTING

PASSWORD = "pass wörd".encode()

KEPT = [
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$stL2YWuCc1+c18j0Gp6VhA$ovnGa6LPptUz/HstuU36LYlYyjE+mHEVjr1jR1wEMOY",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$z5DSBnV/qSP3+2Sst2WKyg"
    "$CORD2yytnY6VC7sBy12skC70cZMoC/iouiO+IR912mU",
    "{SHA512-CRYPT}$6$SUucCy3iMFPuZv6."
    "$C3RR0Fbpks4If7ZmknruIEzaoDtmU0XOqCRmhspi4vrI8karzzkp9hMuno2TsysMRdePP2pQNuwwVObPBLvar1",
    "{SHA256-CRYPT}$5$s8Zcl5G68TzSZmDR$TQ36hARuDy1TjYySRZriRNy1nm4/qNUkIoVY0Da7mQD",
    "{BLF-CRYPT}$2y$05$jF/FlZ0EpYzeElmxd7Cy6.pca5srgItFqCr4aAEsjtWlD/zjQrDlK",
    "{CRYPT}$2y$05$WMa6NZnioEwRNJUNMxJZLejhCdTIP5u6t0w1dv5ScUmB2wl5NxiMm",
    "$2y$05$WMa6NZnioEwRNJUNMxJZLejhCdTIP5u6t0w1dv5ScUmB2wl5NxiMm",
    "{MD5-CRYPT}$1$bBDIaF2L$cYqw.U/ggpItK8pOlJODC.",
    "$1$bBDIaF2L$cYqw.U/ggpItK8pOlJODC.",
    "$1$bBDIaF2L$cYqw.U/ggpItK8pOlJODC.$and what is ignored",
    "{MD5}$1$ck6LnW9O$jh3AQ.zn3UIsafzx0aKWm/",
    "{MD5}504d29647770fc46e054b810d4725657",  # as Dovecot takes it, too
    "{DES-CRYPT}abZKnLUO6M512",
    "abZKnLUO6M512",
    "{PBKDF2}$1$3Vkhh210WknjJKmi$5000$d20972dc3539c59daeb4fb5397a38423a4c4f2ce",
    "{SCRAM-SHA-1}4096,jf9AD3NW7LRTO/T18GQbXw==,vHFWNWlWy3TgTXOTOZdefvmW+O4=,uaBciWSpEBoiJzmR+eqFA30PEOQ=",
    "{SCRAM-SHA-256}4096,SSWsj57Fy2SMpvXqe0wSlQ==,Sw393WQmni/QdeBYI0XVWZB3Y7D1kUbHgRNB5+3iKiE=,"
    "9u2ZUL1ydOxSBXUq6ZIL+0u6rdhhXo6kqkAz3XBapFc=",
    "{SSHA}UBTxJ90IOJGxcVieQMBTM5ARmeLXycvI",
    "{SSHA256}8c/+9b95iEmsLs4XUE+dfkgIMdCxarSUSUZgJNRDBMg6JRnQ",
    "{SSHA512}vcJwXg71jPWA6LUo+ael38vm/XtZ1Wi8ncVpZ7P1YECPcjGna37K08U23x1WbW5/E1YuGEYvGtXsOA//mooYBeWKmmA=",
    "{SMD5}pID+7lWZZw7bbYW+OFuSzGyq3Xk=",
    "{SHA}B/PcQHeAKywePq/ztWiCWf9lImE=",
    "{SHA1}B/PcQHeAKywePq/ztWiCWf9lImE=",
    "{SHA1}B/PcQHeAKywePq/ztWiCWf9lImE",
    "{sha1.hex}07f3dc4077802b2c1e3eaff3b5688259ff652261",
    "{SHA}07f3dc4077802b2c1e3eaff3b5688259ff652261",
    "{SHA256}OiJnkCVYiolCxym6OY5vSw4KcK5/4byVl4xwY92nKW4=",
    "{SHA512}zNC2/6f2hn0TF9T9rZD547wrjHSb4QzAd6Ka2pPoW8SpdvPx3wCEucqGdC89XUEQapM6HFqXiGHAibw6tmkzKg==",
    "{PLAIN-MD5}504d29647770fc46e054b810d4725657",
    "{PLAIN-MD5}UE0pZHdw/EbgVLgQ1HJWVw==",
    "{LDAP-MD5}UE0pZHdw/EbgVLgQ1HJWVw==",
    "{PLAIN}pass wörd",
    "{CLEARTEXT.b64}cGFzcyB3w7ZyZA==",
]
WEAK = (
    "MD5",
    "SHA1",
    "SHA",
    "SSHA",
    "SSHA256",
    "SSHA512",
    "SHA256",
    "SHA512",
    "PLAIN",
    "DES-",
    "CLEAR",
    "$1$",
)


@pytest.mark.parametrize("kept", KEPT)
def test_the_password_is_right_and_no_other(kept: str) -> None:
    hashed = parse_hash(kept)
    assert hashed.setting.digest(PASSWORD) == hashed.digest
    for wrong in (b"", b"pass w", PASSWORD + b"x", b"pass word"):
        if "DES" in kept or len(kept) == 13:
            wrong = wrong[:8]  # it looks no further
            if wrong == PASSWORD[:8]:
                continue
        assert hashed.setting.digest(wrong) != hashed.digest
    with pytest.raises(AuthenticationFailed):
        hashed.setting.digest(PASSWORD + b"\0")
    with pytest.raises(AuthenticationFailed):
        hashed.setting.digest(b"x" * 4097)
    assert len(hashed.setting.text) <= MAX_SETTING
    assert repr(hashed.digest)[2:-1] not in repr(hashed)


@pytest.mark.parametrize("kept", KEPT)
def test_an_encoding_that_is_named_holds(kept: str) -> None:
    scheme, _, text = kept[1:].partition("}") if kept.startswith("{") else ("CRYPT", "", kept)
    if "." in scheme or scheme in ("SHA", "PLAIN-MD5", "LDAP-MD5") or "ignored" in kept:
        return  # they are encoded already
    known = parse_hash(kept)
    raw = known.digest if scheme.startswith("SHA1") else text.encode()
    if scheme in ("SHA256", "SHA512", "SSHA", "SSHA256", "SSHA512", "SMD5"):
        raw = base64.b64decode(text)
    for encoding, encoded in (
        ("b64", base64.b64encode(raw).decode()),
        ("base64", base64.b64encode(raw).decode()),
        ("HEX", raw.hex()),
    ):
        assert parse_hash(f"{{{scheme}.{encoding}}}{encoded}") == known


def test_which_are_weak() -> None:
    for kept in KEPT:
        name = kept.strip("{")
        strong = name.startswith(
            ("ARGON2", "SHA512-CRYPT", "SHA256-CRYPT", "BLF", "CRYPT", "$2y", "PBKDF2", "SCRAM")
        )
        assert parse_hash(kept).setting.weak == (not strong), kept


def test_a_configured_scheme_is_that_of_what_names_none() -> None:
    kept = "504d29647770fc46e054b810d4725657"
    assert parse_hash(kept, "PLAIN-MD5").digest.hex() == kept
    assert parse_hash("pass wörd", "PLAIN").digest == PASSWORD
    assert parse_hash("{PLAIN}x", "PLAIN-MD5").digest == b"x"
    assert parse_hash("{x", "plain").digest == b"{x"


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        ("{CRAM-MD5}a440c5490c41d8a04bba7ea96980743be2b7e0a950ed6fd02a67556bf5842fdc", "kept as CRAM-MD5"),
        ("{OTP}sha1 1024 acb36e8f1233c627 fefa4eb606d89a78", "kept as OTP"),
        ("{ROT13}secret", "not known: 'ROT13'"),
        ("{SHA1.b32}secret", "not known"),
        ("{PLAIN}", "no password in the scheme PLAIN"),
        ("", "no password in the scheme CRYPT"),
        ("!", "no password in the scheme CRYPT"),
        ("*", "no password in the scheme CRYPT"),
        ("x", "no password in the scheme CRYPT"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC", "scheme CRYPT"),
        ("{SHA1}B/PcQHeAKywePq/z", "scheme SHA1"),
        ("{SHA1}B/PcQHeAKywePq/ztWiCWf9lIm!=", "scheme SHA1"),
        ("{SSHA}B/PcQHeAKywePq/ztWiCWf9lImE=", "scheme SSHA"),
        ("{PBKDF2}$1$salt$5000$abcd", "scheme PBKDF2"),
        ("{PBKDF2}$1$salt$1000001$d20972dc3539c59daeb4fb5397a38423a4c4f2ce", "costs too much"),
        ("{SHA256-CRYPT}$5$rounds=1000001$s8$TQ36hARuDy1TjYySRZriRNy1nm4/qNUkIoVY0Da7mQD", "costs too much"),
        ("{SHA256-CRYPT}$5$rounds=999$s8$TQ36hARuDy1TjYySRZriRNy1nm4/qNUkIoVY0Da7mQD", "costs too much"),
        ("{BLF-CRYPT}$2y$16$jF/FlZ0EpYzeElmxd7Cy6.pca5srgItFqCr4aAEsjtWlD/zjQrDlK", "costs too much"),
        ("{BLF-CRYPT}$2y$05$jF/FlZ0EpYzeElmxd7Cy6zpca5srgItFqCr4aAEsjtWlD/zjQrDlK", "damaged"),
        ("{ARGON2ID}$argon2id$v=19$m=6553600,t=3,p=1$z5DSBnV/qSP3$CORD2yytnY6VC7sBy12skC70cZMo", "too much"),
        ("{ARGON2ID}$argon2id$v=16$m=65536,t=3,p=1$z5DSBnV/qSP3$CORD2yytnY6VC7sBy12skC70cZMo", "no password"),
        ("{SCRAM-SHA-1}4096,jf9AD3NW7LRTO/T18GQbXw==,vHFW,uaBc", "scheme SCRAM-SHA-1"),
    ],
)
def test_what_cannot_be_checked_is_refused_without_showing_it(kept: str, why: str) -> None:
    with pytest.raises(Refused, match="password") as refused:
        parse_hash(kept)
    assert why in str(refused.value) and refused.value.hint
    secret = kept.rpartition("$")[2].rpartition("}")[2]
    assert len(secret) < 4 or secret not in str(refused.value)


@given(st.text(max_size=120))
def test_whatever_stands_there_is_read_or_refused(kept: str) -> None:
    for scheme in ("CRYPT", "PLAIN-MD5", "SSHA512", "SCRAM-SHA-1", "ARGON2ID"):
        with suppress(Refused):
            parse_hash(kept, scheme)
