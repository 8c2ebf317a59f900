"""Which accounts an import is of: one, or those of a list; and where the mail of each is."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import typer

from aerogramme_cli.asking import check_private, read_file

LONGEST = 64 << 20  # octets of a list: a million accounts
COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One account of a list. `source`: where its mail is, or the login name there; "" for what the command
    says. `password`: of the login there, "" if the list has none."""

    address: str
    source: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Line({self.address!r}, {self.source!r})"


def read_list(name: str, *, passwords: bool) -> list[Line]:
    """The accounts of a file, or of standard input (`-`): one a line, as `doveadm user '*'` prints them, or
    CSV: address, source, and (with `passwords`) password. Empty lines and those that begin with # do not
    count, and a first line of the words address, source, password neither.

    Raises BadParameter; also where there are passwords that others can read.
    """
    try:
        text = read_file(name, LONGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{name} is not UTF-8") from None
    lines = list(_lines(name, text.splitlines(), passwords))
    if any(line.password for line in lines):
        check_private(name)
    if not lines:
        raise typer.BadParameter(f"{name} names no account")
    return lines


def _lines(name: str, text: Sequence[str], passwords: bool) -> Iterable[Line]:
    seen: dict[str, int] = {}
    reader = csv.reader(text, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if (
                not any(fields)
                or fields[0].startswith("#")
                or fields[:2] in (["address"], ["address", "source"])
            ):
                continue
            most = COLUMNS if passwords else COLUMNS - 1
            if not fields[0] or len(fields) > most:
                columns = "address, source, password" if passwords else "address, source"
                raise typer.BadParameter(f"line {reader.line_num} of {name} is not: {columns}")
            if (before := seen.setdefault(fields[0].casefold(), reader.line_num)) != reader.line_num:
                raise typer.BadParameter(
                    f"lines {before} and {reader.line_num} of {name} are of the same account"
                )
            yield Line(*fields)
    except csv.Error as error:
        raise typer.BadParameter(f"line {reader.line_num} of {name}: {error}") from None
