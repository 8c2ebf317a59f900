"""Paths and login names with variables, as Dovecot's settings have them."""

import typer

from aerogramme.errors import Refused


def expanded(template: str, address: str) -> str:
    """A path or a login name with %u (user@domain), %n (user), %d (domain) and %% (%) put in; %Lu, %Ln, %Ld
    in small letters.

    Raises BadParameter for other variables, Refused for an address of which a path cannot be made: it has no
    slash in it, but may be dots.
    """
    local, _, domain = address.rpartition("@")
    values = {"u": address, "n": local or domain, "d": domain if local else ""}
    out, rest = [], template
    while rest:
        before, percent, rest = rest.partition("%")
        out.append(before)
        if not percent:
            break
        small = rest.startswith("L")
        rest = rest[small:]
        name, rest = rest[:1], rest[1:]
        if name == "%" and not small:
            out.append("%")
        elif name in values:
            value = values[name].lower() if small else values[name]
            if "/" in value or value in ("", ".", ".."):
                raise Refused(f"{address}: %{name} cannot be a part of a path or name")
            out.append(value)
        else:
            raise typer.BadParameter(f"{template}: of Dovecot's variables %u, %n, %d and %% are known here")
    return "".join(out)
