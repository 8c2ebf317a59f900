"""The keys of SCRAM-SHA-256, against the example of RFC 7677 §3."""

import hmac
from base64 import b64decode, b64encode

import pytest

from aerogramme.seal import scram
from aerogramme.seal.secrets import Secret

NONCE = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
AUTH_MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=" + NONCE
)


def test_example_of_rfc7677():
    salted = scram.salted_password(Secret("pencil"), b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    client = scram.client_key(salted)
    signature = hmac.digest(scram.stored_key(client), AUTH_MESSAGE, "sha256")
    proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
    assert b64encode(proof) == b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    verifier = hmac.digest(scram.server_key(salted), AUTH_MESSAGE, "sha256")
    assert b64encode(verifier) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_salt_is_one_account_s():
    one, other = bytes(16), bytes(15) + b"\1"
    assert scram.account_salt(one) == scram.account_salt(one) != scram.account_salt(other)
    assert len(scram.account_salt(one)) == scram.SALT_SIZE
    with pytest.raises(ValueError, match="16 bytes"):
        scram.account_salt(b"short")
