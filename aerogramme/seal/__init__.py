"""All cryptography, and nothing else: bytes in, sealed bytes out, no I/O.

    secrets   Secret: what a person types
    record    Key, Binding: small things, sealed whole
    stream    large things, sealed in chunks that open alone
    body      a content: compressed, and sealed as a stream under its own ContentKey
    hybrid    HPKE with ML-KEM-768 and X25519: sealing to a public key
    incoming  IncomingPublic: sealing what arrives
    scram     what SCRAM-SHA-256 makes of a password
    hashes    what other servers keep of passwords
    locks     what closes a slot: Argon2id, the ClientKey of SCRAM, or such a hash and Argon2id
    slots     Slot: a secret opens a private key
    codes     Code: a secret that we make, for paper and for programs
    keyring   Keyring: generations of keys, sealed to every slot; seals and opens the account's records

The life of the keys:

    slot, private = Slot.create(Secret("…"), "password", "", params)
    keyring = Keyring.create(account).admit(private)            account: 16 bytes
    slot.to_bytes(), keyring.to_bytes(version=1), keyring.incoming_public().to_bytes()    are stored

    keyring = Keyring.unlock(sealed, Slot.from_bytes(stored).unlock(Secret("…")), account)
    keyring.open("entry", name, keyring.seal("entry", name, plain)) == plain
"""

from aerogramme.seal.body import (
    MAX_BODY,
    BodyOpener,
    BodyReader,
    BodySealer,
    ContentKey,
    open_body,
    seal_body,
)
from aerogramme.seal.codes import Code
from aerogramme.seal.incoming import IncomingPublic
from aerogramme.seal.keyring import Generation, Keyring, Member
from aerogramme.seal.locks import Argon2Params
from aerogramme.seal.record import Binding, Key
from aerogramme.seal.secrets import Secret
from aerogramme.seal.slots import Slot, SlotPrivate

__all__ = [
    "MAX_BODY",
    "Argon2Params",
    "Binding",
    "BodyOpener",
    "BodyReader",
    "BodySealer",
    "Code",
    "ContentKey",
    "Generation",
    "IncomingPublic",
    "Key",
    "Keyring",
    "Member",
    "Secret",
    "Slot",
    "SlotPrivate",
    "open_body",
    "seal_body",
]
