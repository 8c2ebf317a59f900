"""Aliases as Postfix has them: a virtual alias map (virtual(5)).

    other@example.org      user@example.org        an alias of the user
    @example.net           user@example.org        all other addresses of the domain
    # comment; a line that begins with a space goes on with the one before

What leads to one user here, over other lines or not, becomes an alias of the account. What leads to several,
or elsewhere, stays Postfix's business: it is told, and Postfix goes on doing it before it hands mail over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aerogramme.migrate.users.lists import Fault
from aerogramme.users.directory import canonical, canonical_domain
from aerogramme.users.static import check_address, check_domain

MAX_STEPS = 100  # from one alias to the next: Postfix itself goes on for 1000 (virtual_alias_recursion_limit)


@dataclass(frozen=True, slots=True)
class Names:
    """What one user gets."""

    aliases: list[str] = field(default_factory=list)
    catch_all: list[str] = field(default_factory=list)


def read_aliases(
    text: str, user_of: Callable[[str], str | None], *, domain: str = ""
) -> tuple[dict[str, Names], list[Fault]]:
    """Main address -> the names that the map gives it, and what is left to Postfix.

    user_of  the main address of the user with an address, None if it is nobody's here
    domain   that of names which have none
    """
    faults: list[Fault] = []
    found: dict[str, tuple[int, str, list[str]]] = {}
    for number, line in _joined(text):
        name, *rest = line.split(maxsplit=1)
        targets = "".join(rest).replace(",", " ").split()
        try:
            name = _checked(name, domain)
            targets = [_checked(target, domain) for target in targets]
        except ValueError as error:
            faults.append(Fault(number, str(error)))
            continue
        if not targets:
            faults.append(Fault(number, f"{name} leads nowhere"))
        elif _key(name) in found:
            faults.append(Fault(number, f"{name} stands in line {found[_key(name)][0]} already"))
        else:
            found[_key(name)] = number, name, targets
    names: dict[str, Names] = {}
    for number, name, targets in found.values():
        user = _user(targets, found, user_of)
        if user is None:
            faults.append(Fault(number, f"{name} leads to several, or to nobody here: it stays with Postfix"))
        elif name.startswith("@"):
            names.setdefault(user, Names()).catch_all.append(name[1:])
        elif (owner := user_of(name)) is None:
            names.setdefault(user, Names()).aliases.append(name)
        elif owner != user:
            faults.append(Fault(number, f"{name} is an address of {owner} here"))
    return names, sorted(faults, key=lambda fault: fault.line)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines, with the number of their first one."""
    begun, line = 0, ""
    for number, part in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not part.strip() or part.lstrip().startswith("#"):
            continue
        if part[0].isspace() and line:
            line += " " + part.strip()
            continue
        if line:
            yield begun, line
        begun, line = number, part.strip()
    if line:
        yield begun, line


def _checked(name: str, domain: str) -> str:
    """Raises ValueError."""
    if name.startswith("@"):
        check_domain(name[1:], name)
        canonical_domain(name[1:])
        return name
    if "@" not in name and domain:
        name = f"{name}@{domain}"
    if "@" not in name:
        raise ValueError(f"{name!r} has no domain: say which, with --domain")
    check_address(name)
    return name


def _key(name: str) -> str:
    return canonical(name if not name.startswith("@") else f"*{name}")


def _user(
    targets: list[str],
    found: dict[str, tuple[int, str, list[str]]],
    user_of: Callable[[str], str | None],
) -> str | None:
    """The one user to whom all of it leads. An address that leads to itself is its own mailbox."""
    for _ in range(MAX_STEPS):
        if len(targets) != 1:
            return None
        [target] = targets
        if target.startswith("@"):
            return None
        following = found.get(_key(target))
        if following is None or [_key(each) for each in following[2]] == [_key(target)]:
            return user_of(target)
        targets = following[2]
    return None
