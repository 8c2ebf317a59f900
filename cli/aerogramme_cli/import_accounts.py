"""Which accounts an import is of: one, or those of a list; and where the mail of each is."""

import csv
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

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
        if name == "-":
            raw, mode = typer.get_binary_stream("stdin").read(LONGEST + 1), 0
        else:
            with Path(name).open("rb") as file:
                raw, mode = file.read(LONGEST + 1), os.fstat(file.fileno()).st_mode
        if len(raw) > LONGEST:
            raise typer.BadParameter(f"{name} has more than {LONGEST} octets")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"no accounts can be read from {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{name} is not UTF-8") from None
    lines = list(_lines(name, text.splitlines(), passwords))
    if any(line.password for line in lines) and stat.S_IMODE(mode) & 0o077:
        raise typer.BadParameter(f"{name} has passwords and can be read by others: chmod 600 it")
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


def expanded(template: str, address: str) -> str:
    """A path or a login name with the variables that Dovecot's settings have: %u (user@domain), %n (user), %d
    (domain), %% (%); %Lu, %Ln, %Ld in small letters. Raises BadParameter for others."""
    local, _, domain = address.rpartition("@")
    values = {"u": address, "n": local or domain, "d": domain if local else "", "%": "%"}
    out, rest = [], template
    while rest:
        before, percent, rest = rest.partition("%")
        out.append(before)
        if not percent:
            break
        small = rest.startswith("L")
        rest = rest[small:]
        if rest[:1] not in values:
            raise typer.BadParameter(f"{template}: of Dovecot's variables %u, %n, %d and %% are known here")
        value = values[rest[0]]
        if "/" in value or value in (".", ".."):
            raise typer.BadParameter(f"{address}: its mail cannot be in a folder of that name")
        out.append(value.lower() if small else value)
        rest = rest[1:]
    return "".join(out)
