"""Mail that Dovecot's mail-crypt has encrypted: only Dovecot, with the user's password, reads it."""

from typing import Final

from aerogramme.errors import Unreadable

_MAGIC: Final = b"CRYPTED\x03\x07"  # lib-dcrypt, versions 1 and 2

# mail_crypt_save_version=0 decrypts what is read and encrypts nothing that is written; UIDs stay.
DECRYPT: Final = (
    "have Dovecot decrypt it: doveadm -o plugin/mail_crypt_private_password=PASSWORD "
    "-o plugin/mail_crypt_save_version=0 backup -u USER maildir:/a/folder, and import that folder; "
    "or import it by IMAP, from the Dovecot that serves it"
)


def is_encrypted(head: bytes) -> bool:
    """A letter whose first octets these are is encrypted."""
    return head.startswith(_MAGIC)


def refused() -> Unreadable:
    """The error for a letter, or a whole source, that is encrypted."""
    return Unreadable("the mail is encrypted by Dovecot's mail-crypt", hint=DECRYPT)
