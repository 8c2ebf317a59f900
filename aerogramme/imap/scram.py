"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as the server speaks them: messages in, messages out, no I/O
(RFC 5802, RFC 7677).

    scram = Scram(plus=False, binding=None)
    scram.first(b"n,,n=alice,r=fyko")             from the client: who
    scram.challenge(salt, iterations)             to the client: r=fyko…,s=…,i=4096
    proof = scram.final(b"c=biws,r=fyko…,p=…")    from the client: fresh, and bound to this channel
    key = proof.client_key(stored_key)            for each secret that it may be of: ClientKey, or None
    proof.verifier(server_key)                    to the client: v=…, the server knows the secret too

What cannot be read is BadSyntax. What can be, but was said on another channel, in another exchange or by
somebody who has been lied to, is AuthenticationFailed; nothing of it depends on who the user is.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aerogramme.errors import AuthenticationFailed, BadSyntax

NONCE_SIZE = 18  # octets of randomness in the server's part of the nonce; 24 characters
MAX_NAME = 320  # characters. An address has no more (RFC 5321 §4.5.3.1), and strangers say how long a name is

# RFC 5802 §7. value-safe-char = any of UTF-8 but NUL, "=" and ","; a value may hold "=" too.
_SASLNAME: Final = r"(?:[^\0=,]|=2C|=3D)+"
_VALUE: Final = r"[^\0,]+"
_PRINTABLE: Final = r"[!-+\--~]+"
_BASE64: Final = r"[A-Za-z0-9+/]*={0,2}"

# client-first-message = gs2-header client-first-message-bare
# gs2-header = gs2-cbind-flag "," [ authzid ] ","
# gs2-cbind-flag = ("p=" cb-name) / "n" / "y"
# client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
_CLIENT_FIRST: Final = re.compile(
    r"(?P<header>(?P<flag>p=(?P<binding>[A-Za-z0-9.\-]+)|[ny]),"
    rf"(?:a=(?P<authzid>{_SASLNAME}))?,)"
    rf"(?P<bare>(?P<mext>m={_VALUE},)?n=(?P<user>{_SASLNAME}),r=(?P<nonce>{_PRINTABLE})"
    rf"(?P<extensions>(?:,[A-Za-z]={_VALUE})*))"
)

# client-final-message = client-final-message-without-proof "," proof
# client-final-message-without-proof = channel-binding "," nonce ["," extensions]
_CLIENT_FINAL: Final = re.compile(
    rf"(?P<bare>c=(?P<binding>{_BASE64}),r=(?P<nonce>{_PRINTABLE})"
    rf"(?P<extensions>(?:,[A-Za-oq-z]={_VALUE})*)),p=(?P<proof>{_BASE64})"
)


class ChannelBinding(NamedTuple):
    """What identifies the secure channel that a connection runs in (RFC 5056 §2): both ends see the same,
    unless somebody sits between them."""

    name: str  # as registered: "tls-server-end-point" (RFC 5929 §4)
    data: bytes


class Scram:
    """One exchange. `user` and `authzid` are known after `first`; authzid is None if the client gave none."""

    def __init__(self, *, plus: bool, binding: ChannelBinding | None, nonce: bytes | None = None) -> None:
        """`plus`: the -PLUS mechanism was chosen. `binding`: that of the connection, None if it has none.

        `nonce`: the server's part, for tests; random if None.
        """
        self.user = ""
        self.authzid: str | None = None
        self._plus = plus
        self._binding = binding
        self._own_nonce = base64.b64encode(os.urandom(NONCE_SIZE)) if nonce is None else nonce
        self._client_first_bare = self._server_first = self._nonce = self._binding_input = b""

    def first(self, message: bytes) -> None:
        """Takes the client-first-message. Raises BadSyntax, AuthenticationFailed."""
        found = _CLIENT_FIRST.fullmatch(_text(message))
        if found is None:
            raise BadSyntax("This is no client-first-message of SCRAM")
        _check_extensions((found["mext"] or "") + found["extensions"])
        self._check_flag(found["flag"], found["binding"])
        self._binding_input = found["header"].encode()
        if found["binding"] is not None and self._binding is not None:
            self._binding_input += self._binding.data
        self._client_first_bare = found["bare"].encode()
        self._nonce = found["nonce"].encode() + self._own_nonce
        self.user = saslprep(_unescaped(found["user"]))
        if found["authzid"] is not None:
            self.authzid = saslprep(_unescaped(found["authzid"]))

    def _check_flag(self, flag: str, name: str | None) -> None:
        """RFC 5802 §6: who asks for a binding gets exactly that, and nobody is talked out of one."""
        if flag == "y" and self._binding is not None:
            # The client can bind and was told that this server cannot, but it was this server that told it,
            # and not that.
            raise AuthenticationFailed("Channel binding is offered here; somebody has hidden that from you")
        if self._plus != (name is not None):
            raise AuthenticationFailed("The -PLUS mechanism and channel binding go together")
        if name is not None and (self._binding is None or name != self._binding.name):
            known = f"use {self._binding.name}" if self._binding else "there is none here"
            raise AuthenticationFailed(f"This kind of channel binding is not known here; {known}")

    def challenge(self, salt: bytes, iterations: int) -> bytes:
        """The server-first-message."""
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(salt), iterations)
        return self._server_first

    def final(self, message: bytes) -> "Proof":
        """Takes the client-final-message. Raises BadSyntax, AuthenticationFailed."""
        found = _CLIENT_FINAL.fullmatch(_text(message))
        if found is None:
            raise BadSyntax("This is no client-final-message of SCRAM")
        _check_extensions(found["extensions"])
        binding, proof = _decoded(found["binding"]), _decoded(found["proof"])
        if len(proof) != hashlib.sha256().digest_size:
            raise BadSyntax("A proof of SCRAM-SHA-256 has 32 octets")
        if found["nonce"].encode() != self._nonce:  # RFC 5802 §5.1: an answer to another challenge
            raise AuthenticationFailed("The nonce is not that of this exchange")
        if binding != self._binding_input:
            # RFC 5802 §5.1: the client's end of the channel is not the one that ends here, or what it said
            # in its first message was changed on the way.
            raise AuthenticationFailed("The channel binding does not match; somebody may sit between us")
        bare = found["bare"].encode()
        return Proof(proof, b",".join((self._client_first_bare, self._server_first, bare)))


@dataclass(frozen=True)
class Proof:
    """The client's proof that it has a ClientKey, and what it was made for (AuthMessage, RFC 5802 §3)."""

    proof: bytes = field(repr=False)  # ClientProof: together with a StoredKey it tells ClientKey
    auth_message: bytes = field(repr=False)

    def client_key(self, stored_key: bytes) -> bytes | None:
        """ClientKey, if it is the one that this StoredKey is the hash of; None if it is not."""
        signature = hmac.digest(stored_key, self.auth_message, "sha256")
        key = bytes(a ^ b for a, b in zip(self.proof, signature, strict=True))
        return key if hmac.compare_digest(hashlib.sha256(key).digest(), stored_key) else None

    def verifier(self, server_key: bytes) -> bytes:
        """The server-final-message: the server's own proof."""
        return b"v=" + base64.b64encode(hmac.digest(server_key, self.auth_message, "sha256"))


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise BadSyntax("A message of SCRAM is UTF-8") from None


def _check_extensions(extensions: str) -> None:
    """RFC 5802 §5.1: `m` is for extensions that must be understood, and none is. Others are passed over."""
    if any(extension.startswith("m=") for extension in extensions.split(",")):
        raise BadSyntax("No extension of SCRAM is known here")


def _unescaped(name: str) -> str:
    """The text of a saslname (RFC 5802 §5.1)."""
    return name.replace("=2C", ",").replace("=3D", "=")


def _decoded(text: str) -> bytes:
    """The octets of base64 in the one form that there is for them."""
    try:
        octets = base64.b64decode(text, validate=True)
    except binascii.Error:
        octets = b""
    if base64.b64encode(octets).decode() != text:
        raise BadSyntax("This is no base64")
    return octets


def saslprep(name: str) -> str:
    """A user's name as it is looked up (RFC 5802 §5.1): SASLprep, RFC 4013 §2, as a query string, so with
    unassigned characters. Raises AuthenticationFailed for what can be no name."""
    if len(name) > MAX_NAME:
        raise AuthenticationFailed
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in name
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not 0 < len(prepared) <= MAX_NAME or any(map(_is_prohibited, prepared)):  # one becomes up to 18
        raise AuthenticationFailed
    # RFC 3454 §6: right-to-left text begins and ends so, and has no left-to-right in it.
    right_to_left = [stringprep.in_table_d1(character) for character in prepared]
    if any(right_to_left) and not (
        right_to_left[0] and right_to_left[-1] and not any(map(stringprep.in_table_d2, prepared))
    ):
        raise AuthenticationFailed
    return prepared


def _is_prohibited(character: str) -> bool:
    """RFC 4013 §2.3."""
    return (
        stringprep.in_table_c12(character)
        or stringprep.in_table_c21_c22(character)
        or stringprep.in_table_c3(character)
        or stringprep.in_table_c4(character)
        or stringprep.in_table_c5(character)
        or stringprep.in_table_c6(character)
        or stringprep.in_table_c7(character)
        or stringprep.in_table_c8(character)
        or stringprep.in_table_c9(character)
    )
