"""Which mailboxes are for drafts, sent mail and the like: as somebody said, or else by their names."""

from collections.abc import Iterable, Mapping
from typing import Final

from aerogramme.errors import Refused
from aerogramme.mailbox.names import DELIMITER, INBOX, ROLES

# What mail programs and servers make by themselves, in the languages they speak most. The first that is there
# has the role. \All, \Flagged and \Important are views of other mailboxes: no name is enough to say so.
_CALLED: Final[dict[str, tuple[str, ...]]] = {
    "\\Drafts": ("Drafts", "Draft", "Entwürfe", "Brouillons", "Borradores", "Bozze", "Concepten", "Utkast",
                 "Kladder", "Wersje robocze", "Rascunhos", "Koncepty", "Luonnokset", "Черновики",
                 "下書き", "草稿"),
    "\\Sent": ("Sent", "Sent Items", "Sent Messages", "Sent Mail", "sent-mail", "Gesendet",
               "Gesendete Objekte", "Gesendete Elemente", "Envoyés", "Éléments envoyés", "Enviados",
               "Elementos enviados",
               "Posta inviata", "Inviata", "Verzonden", "Verzonden items", "Skickat", "Sendt", "Sendt post",
               "Wysłane", "Elementy wysłane", "Itens enviados", "Odeslané", "Lähetetyt", "Отправленные",
               "送信済み", "已发送"),
    "\\Archive": ("Archive", "Archives", "Archiv", "Archivo", "Archivio", "Archief", "Arkiv", "Archiwum",
                  "Arquivo", "Arkisto", "Архив", "アーカイブ", "存档"),
    "\\Junk": ("Junk", "Spam", "Junk E-mail", "Junk Email", "Junk-E-Mail", "Junk Mail", "Bulk Mail",
               "Unerwünscht", "Spamverdacht", "Courrier indésirable", "Indésirables", "Pourriel",
               "Correo no deseado", "Posta indesiderata", "Ongewenste e-mail", "Skräppost", "Søppelpost",
               "Wiadomości-śmieci", "Lixo eletrônico", "Nevyžádaná pošta", "Roskaposti", "Спам", "迷惑メール",
               "垃圾邮件"),
    "\\Trash": ("Trash", "Deleted Items", "Deleted Messages", "Deleted", "Bin", "Papierkorb",
                "Gelöschte Objekte", "Gelöschte Elemente", "Corbeille", "Éléments supprimés", "Papelera",
                "Elementos eliminados", "Cestino", "Posta eliminata", "Prullenbak", "Verwijderde items",
                "Papperskorgen", "Papirkurv", "Kosz", "Elementy usunięte", "Lixeira", "Lixo", "Koš",
                "Roskakori", "Корзина", "Удаленные", "ゴミ箱", "垃圾箱", "已删除"),
}  # fmt: skip


def chosen(given: Iterable[str]) -> dict[str, str | None]:
    r"""Mailbox name -> its role, from what an operator wrote: `Sent Items=\Sent`, and `Sent=` for none.

    The name is the one that the mailbox gets here. Raises Refused.
    """
    roles: dict[str, str | None] = {}
    for text in given:
        name, equals, role = text.rpartition("=")
        known = next((r for r in ROLES if r[1:].casefold() == role.removeprefix("\\").casefold()), None)
        if not equals or not name or (role and known is None):
            raise Refused(
                f"{text!r} gives no mailbox a special use",
                hint="NAME=USE, where USE is one of " + ", ".join(r[1:] for r in ROLES) + ", or nothing",
            )
        roles[name] = known
    return roles


def roles_of(
    names: Iterable[str], said: Mapping[str, str], chosen: Mapping[str, str | None], *, guess: bool = True
) -> dict[str, str]:
    """Mailbox name -> role, each role once (RFC 6154 §3).

    names   all mailboxes, as they are called here
    said    what the source itself says
    chosen  what the operator says, which goes before all else; None: this mailbox has none
    guess   give what nobody has said by name, to mailboxes at the top or right below INBOX
    """
    present = sorted(set(names) - {INBOX})
    roles: dict[str, str] = {}

    def give(name: str, role: str) -> None:
        if name in present and name not in roles and role in ROLES and role not in roles.values():
            roles[name] = role

    for name, role in chosen.items():
        if role is not None:
            give(name, role)
    for name in present:
        if name in said and name not in chosen:
            give(name, said[name])
    if guess:
        called: dict[str, list[str]] = {}
        for name in present:
            level = name.removeprefix(INBOX + DELIMITER)
            if DELIMITER not in level and name not in chosen:
                called.setdefault(level.casefold(), []).append(name)
        for role, words in _CALLED.items():
            for word in words:
                for name in called.get(word.casefold(), ()):
                    give(name, role)
    return roles
