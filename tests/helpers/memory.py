"""What a running process has: the search for secrets in its memory, its environment, its command line."""

from collections.abc import Iterator, Mapping
from pathlib import Path


def readable(pid: int) -> Iterator[bytes]:
    """All that can be read of its memory, region by region."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            where, rights, *_, name = line.rstrip("\n").split(" ", 5)
            if not rights.startswith("r") or name.strip().startswith(
                "[v"
            ):  # [vvar], [vsyscall]: the kernel's
                continue
            first, end = (int(address, 16) for address in where.split("-"))
            memory.seek(first)
            parts = []
            while first < end and (part := memory.read(end - first)):
                parts.append(part)
                first += len(part)
            yield b"".join(parts)


def found_in(pid: int, wanted: Mapping[str, bytes]) -> set[str]:
    """Which of these the process has. The process must be ours (or a child's), and keep still meanwhile only
    as far as that what is looked for does not move."""
    places = [*readable(pid), *(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))]
    assert sum(map(len, places)) > 10_000_000, "that is no whole Python process"
    return {what for what, secret in wanted.items() if any(secret in place for place in places)}
