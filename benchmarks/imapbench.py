#!/usr/bin/env python3
"""imapbench: named IMAP (and LMTP) workloads against any server, one JSON line per workload.

Python 3.11, standard library only, raw sockets. The client does as little as it can: it receives into
large buffers, looks only for the tagged completion and skips literals without reading them, so the time
measured is the server's. `client_cpu_s` tells what this process (and its children) used itself.

    imapbench.py --imap 127.0.0.1:2143 --lmtp 127.0.0.1:2025 --user alice --password hunter2 \\
                 --corpus corpus --server-pid "$(cat master.pid)" --label dovecot > a.jsonl
    imapbench.py ... --workloads fetch-env,search-text   # some only (they import `bench` if it is empty)
    imapbench.py ... --workloads fetch                   # a prefix names all workloads that begin so
    imapbench.py ... --vs 127.0.0.1:2144 --vs-lmtp 127.0.0.1:2026 --rounds 3   # A and B in turn, ratios
    imapbench.py --table a.jsonl b.jsonl                 # Markdown table: workloads down, servers across
    imapbench.py --ratios ours.jsonl peer.jsonl          # the same, with the ratio of the first to each other
    imapbench.py --list

--lmtp smtp:HOST:PORT delivers over SMTP, for servers without LMTP.

Every mailbox made here is named imapbench-* and deleted at the end, but for the big one (--mailbox, `bench`):
it stays with --keep, and a later run uses it as it is when it has the right number of messages. INBOX gets
LMTP deliveries; those messages are deleted and expunged at the end. Use an account made for this.

A workload that the server refuses (NO/BAD, or it lacks the extension) gives {"refused": why}; one that
ends in a time-out or a dropped connection gives {"failed": why}. The run goes on with the next.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import resource
import socket
import statistics
import sys
import threading
import time

clock = time.perf_counter


class Refused(Exception):
    """The server answered NO or BAD, or has not the extension."""


class Broken(Exception):
    """The connection died, or the answer makes no sense."""


# ---------------------------------------------------------------- connections


def address(text):
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


class Conn:
    def __init__(self, addr, timeout):
        self.sock = socket.create_connection(addr, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        self.rx = 0
        self.scratch = memoryview(bytearray(1 << 20))

    def fill(self):
        n = self.sock.recv_into(self.scratch)
        if not n:
            raise Broken("connection closed by the server")
        self.rx += n
        self.buf += self.scratch[:n]

    def line(self):
        while (end := self.buf.find(b"\r\n")) < 0:
            self.fill()
        line = bytes(self.buf[:end])
        del self.buf[: end + 2]
        return line

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


class Imap(Conn):
    def __init__(self, server, at=None):
        super().__init__(at or server.imap, server.timeout)
        self.server, self.count, self.caps, self.selected = server, 0, None, None
        if not self.line().startswith((b"* OK", b"* PREAUTH")):
            raise Refused("no OK greeting")

    def finish(self, tag, keep=None):
        """Reads up to the tagged line and returns it. Literals are skipped unread; `keep` collects all bytes.

        Both marks are found with bytes.find, each byte looked at about twice at memchr speed.
        """
        mark, buf, scan, first = b"\r\n" + tag + b" ", self.buf, 0, True
        while True:
            if first:  # the tagged line may be the very first
                if len(buf) < len(mark) - 2:
                    self.fill()
                    continue
                first, at = False, (-2 if buf.startswith(mark[2:]) else None)
            else:
                at = None
            brace = buf.find(b"}\r\n", scan)
            if at is None:
                at = buf.find(mark, scan, brace + 3 if brace >= 0 else len(buf))
                if at < 0:
                    at = None
            if at is not None:
                start = at + 2
                while (end := buf.find(b"\r\n", start)) < 0:
                    self.fill()
                line = bytes(buf[start:end])
                if keep is not None:
                    keep += buf[:start]
                del buf[: end + 2]
                return line
            if brace >= 0:
                opening = buf.rfind(b"{", max(0, brace - 20), brace)
                digits = buf[opening + 1 : brace].rstrip(b"+") if opening >= 0 else b""
                if not digits.isdigit():
                    scan = brace + 1
                    continue
                stop = brace + 3 + int(digits)
                if stop <= len(buf):
                    scan = stop
                elif keep is not None:
                    while len(buf) < stop:
                        self.fill()
                    scan = stop
                else:  # drop what is here and receive the rest of the literal into a scratch buffer
                    need = stop - len(buf)
                    buf.clear()
                    scan = 0
                    while need:
                        n = self.sock.recv_into(self.scratch, min(need, len(self.scratch)))
                        if not n:
                            raise Broken("connection closed inside a literal")
                        self.rx += n
                        need -= n
                continue
            scan = max(scan, len(buf) - max(len(mark), 24))
            if keep is None and scan > 1 << 16:
                del buf[:scan]
                scan = 0
            self.fill()

    def send(self, *parts):
        self.count += 1
        tag = b"T%d" % self.count
        self.sock.sendall(b"".join((tag, b" ") + parts + (b"\r\n",)))
        return tag

    def check(self, line, what):
        status = line.split(b" ", 2)[1] if b" " in line else b""
        if status != b"OK":
            raise Refused(f"{what[:60].decode('latin1')} -> {line.split(b' ', 1)[-1][:120].decode('latin1')}")
        return line

    def do(self, command, keep=False):
        """Runs a command; the tagged line, or with keep=True all that came before it."""
        got = bytearray() if keep else None
        line = self.check(self.finish(self.send(command), got), command)
        return bytes(got) if keep else line

    def login(self):
        s = self.server
        self.check(
            self.finish(self.send(b'LOGIN "%s" "%s"' % (s.user.encode(), s.password.encode()))), b"LOGIN"
        )
        return self

    def has(self, name):
        if self.caps is None:
            text = self.do(b"CAPABILITY", keep=True).upper()
            self.caps = set(text.replace(b"\r\n", b" ").split())
        return name.upper().encode() in self.caps

    def select(self, box, examine=False):
        out = self.do((b"EXAMINE " if examine else b"SELECT ") + quote(box), keep=True)
        self.selected = box
        m = re.search(rb"\* (\d+) EXISTS", out)
        n = re.search(rb"UIDNEXT (\d+)", out)
        return (int(m[1]) if m else 0), (int(n[1]) if n else 0)

    def uids(self):
        out = self.do(b"UID SEARCH ALL", keep=True)
        return sorted({int(x) for m in re.findall(rb"\* SEARCH([ \d]*)", out) for x in m.split()})

    def append(self, box, mail, flags=b"", date=b""):
        """One APPEND: with LITERAL+ in a single send, else after the server's go-ahead."""
        args = (
            b"APPEND "
            + quote(box)
            + (b" (" + flags + b")" if flags else b"")
            + (b' "' + date + b'"' if date else b"")
        )
        if self.has("LITERAL+") or (self.has("LITERAL-") and len(mail) <= 4096):
            tag = self.send(args, b" {%d+}\r\n" % len(mail), mail)
        else:
            self.count += 1
            tag = b"T%d" % self.count
            self.sock.sendall(tag + b" " + args + b" {%d}\r\n" % len(mail))
            while not (line := self.line()).startswith(b"+"):
                if line.startswith(tag):
                    self.check(line, args)
            self.sock.sendall(mail + b"\r\n")
        self.check(self.finish(tag), args)

    def idle(self):
        self.tag = self.send(b"IDLE")
        while not (line := self.line()).startswith(b"+"):
            if line.startswith(self.tag):
                self.check(line, b"IDLE")

    def wait_exists(self):
        while not re.match(rb"\* \d+ EXISTS", self.line()):
            pass
        return clock()

    def done(self):
        self.sock.sendall(b"DONE\r\n")
        self.check(self.finish(self.tag), b"IDLE")

    def logout(self):
        try:
            self.finish(self.send(b"LOGOUT"))
        except (Broken, OSError):
            pass
        self.close()


class Lmtp(Conn):
    def __init__(self, server):
        super().__init__(server.lmtp, server.timeout)
        self.rcpt = server.rcpt.encode()
        self.reply(b"220")
        self.sock.sendall((b"EHLO" if server.smtp else b"LHLO") + b" localhost\r\n")
        self.pipelining = b"PIPELINING" in self.reply(b"250").upper()

    def reply(self, want):
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        if not lines[-1].startswith(want):
            raise Refused(f"LMTP/SMTP: {lines[-1][:120].decode('latin1')}")
        return b"\n".join(lines)

    def deliver(self, stuffed):
        """One delivery of a mail already dot-stuffed and ended (see stuff)."""
        head = [b"MAIL FROM:<sender@localhost>\r\n", b"RCPT TO:<" + self.rcpt + b">\r\n", b"DATA\r\n"]
        if self.pipelining:
            self.sock.sendall(b"".join(head))
            self.reply(b"250"), self.reply(b"250"), self.reply(b"354")
        else:
            for command, want in zip(head, (b"250", b"250", b"354")):
                self.sock.sendall(command)
                self.reply(want)
        self.sock.sendall(stuffed)
        self.reply(b"250")

    def quit(self):
        try:
            self.sock.sendall(b"QUIT\r\n")
            self.reply(b"221")
        except (Broken, Refused, OSError):
            pass
        self.close()


def quote(box):
    box = box.encode() if isinstance(box, str) else box
    return b'"' + box.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def stuff(mail):
    mail = b"\r\n" + mail
    mail = mail.replace(b"\r\n.", b"\r\n..")[2:]
    return mail + (b"" if mail.endswith(b"\r\n") else b"\r\n") + b".\r\n"


# ---------------------------------------------------------------- a server under test, and its helpers


class Server:
    def __init__(self, o, label, imap, lmtp, user, password, rcpt, pid, mails):
        self.o, self.label, self.imap, self.timeout = o, label, address(imap), o.timeout
        self.smtp = bool(lmtp and lmtp.startswith("smtp:"))
        self.lmtp = address(lmtp.removeprefix("smtp:")) if lmtp else None
        self.watch = address(o.watch) if o.watch else None
        self.user, self.password, self.pid, self.mails = user, password, pid, mails
        self.rcpt = rcpt or (user if "@" in user else user + "@localhost")
        self.big, self.tag = o.mailbox, "imapbench-%d-" % os.getpid()
        self.made, self.ready, self.inbox_from, self.rare = set(), False, None, None

    def conn(self, at=None):
        return Imap(self, at).login()

    def mail(self, i):
        return self.mails[i % len(self.mails)]

    def flags(self, i):  # a third of the big mailbox is unseen, a tenth flagged
        return b" ".join([b"\\Seen"] * (i % 3 != 0) + [b"\\Flagged"] * (i % 10 == 0))

    def date(self, i):
        return time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(1700000000 + 3607 * i)).encode()

    def temp(self, c, name):
        name = self.tag + name
        if name in self.made:
            try:
                c.do(b"DELETE " + quote(name))
            except Refused:
                pass
        c.do(b"CREATE " + quote(name))
        self.made.add(name)
        return name

    def fill_temp(self, c, name, n):
        box = self.temp(c, name)
        for i in range(n):
            c.append(box, self.small(i))
        return box

    def small(self, i):
        """A mail of at most 20 kB, for workloads where the number of mails matters and not their size."""
        if not hasattr(self, "smalls"):
            self.smalls = [m for m in self.mails[:4000] if len(m) <= 20000][:500] or self.mails[:50]
        return self.smalls[i % len(self.smalls)]

    def ensure_big(self):
        """The big mailbox, imported when it is not there with the right number of messages."""
        if self.ready:
            return
        c = self.conn()
        try:
            n = c.select(self.big)[0]
        except Refused:
            n = -1
        c.logout()
        if n != self.o.messages:
            w_import(self)
        self.ready = True

    def note_inbox(self):
        if self.inbox_from is None:
            c = self.conn()
            self.inbox_from = c.select("INBOX")[1] or 1
            c.logout()

    def cleanup(self):
        c = self.conn()
        try:
            if self.inbox_from is not None and c.select("INBOX")[0]:
                new = [u for u in c.uids() if u >= self.inbox_from]
                if new:
                    c.do(b"UID STORE %d:%d +FLAGS.SILENT (\\Deleted)" % (new[0], new[-1]))
                    c.do(b"EXPUNGE")
            c.select("INBOX")
            for name in sorted(self.made) + ([] if self.o.keep else [self.big]):
                try:
                    c.do(b"DELETE " + quote(name))
                except Refused:
                    pass
        finally:
            c.logout()


def stats(times):
    """Median and p95 in milliseconds."""
    if not times:
        return {}
    s = sorted(times)
    return {
        "median_ms": round(statistics.median(s) * 1e3, 3),
        "p95_ms": round(s[min(len(s) - 1, int(0.95 * len(s)))] * 1e3, 3),
    }


def result(wall, ops, nbytes=None, times=None, **more):
    r = {"wall_s": round(wall, 4), "ops": ops, "ops_s": round(ops / wall, 2) if wall else None}
    if nbytes is not None:
        r.update(bytes=nbytes, MB_s=round(nbytes / wall / 1e6, 2) if wall else None)
    return {**r, **stats(times), **more}


def timed(f, *args):
    t = clock()
    f(*args)
    return clock() - t


def parallel(n, work):
    """work(i) in n processes that start together; the list of what they return. Errors are passed on."""
    ctx = multiprocessing.get_context("fork")
    gate = ctx.Barrier(n + 1)
    pipes, procs = [], []

    def child(i, out):
        try:
            out.send((None, work(i, gate)))
        except BaseException as e:
            gate.abort()
            out.send((f"{type(e).__name__}: {e}", None))
        out.close()

    for i in range(n):
        mine, theirs = ctx.Pipe(False)
        procs.append(ctx.Process(target=child, args=(i, theirs), daemon=True))
        procs[-1].start()
        theirs.close()
        pipes.append(mine)
    try:
        gate.wait(600)
    except threading.BrokenBarrierError:
        pass
    start = clock()
    got = []
    for p in pipes:
        try:
            got.append(p.recv())
        except EOFError:
            got.append(("client process died", None))
    wall = clock() - start
    for p in procs:
        p.join(10)
        if p.is_alive():
            p.terminate()
    errors = [e for e, _ in got if e and not e.startswith("BrokenBarrierError")]
    if errors:
        raise (Refused if errors[0].startswith("Refused") else Broken)(errors[0])
    return wall, [r for _, r in got]


def tree_pss(pid):
    """Sum of the proportional set sizes of a process and its descendants, in MB, and how many they are."""
    children = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                with open(f"/proc/{d}/stat") as f:
                    children.setdefault(int(f.read().rpartition(")")[2].split()[1]), []).append(int(d))
            except OSError:
                pass
    todo, kb, n = [pid], 0, 0
    while todo:
        p = todo.pop()
        todo += children.get(p, [])
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                kb += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M)[1])
            n += 1
        except (OSError, TypeError):
            pass
    return round(kb / 1024, 2), n


# ---------------------------------------------------------------- workloads

WORKLOADS = {}


def workload(name):
    def add(f):
        WORKLOADS[name] = f
        return f

    return add


def need_lmtp(s):
    if not s.lmtp:
        raise Refused("no LMTP address given")


@workload("lmtp-seq")
def w_lmtp_seq(s):
    """200 deliveries over one connection"""
    need_lmtp(s)
    s.note_inbox()
    mails = [stuff(s.mail(i)) for i in range(200)]
    c = Lmtp(s)
    start = clock()
    times = [timed(c.deliver, m) for m in mails]
    wall = clock() - start
    c.quit()
    return result(wall, len(mails), sum(map(len, mails)), times)


@workload("lmtp-par")
def w_lmtp_par(s):
    """1000 deliveries over 10 connections"""
    need_lmtp(s)
    s.note_inbox()

    def work(i, gate):
        mails = [stuff(s.mail(200 + i * 100 + j)) for j in range(100)]
        c = Lmtp(s)
        gate.wait()
        times = [timed(c.deliver, m) for m in mails]
        c.quit()
        return times, sum(map(len, mails))

    wall, got = parallel(10, work)
    return result(wall, 1000, sum(b for _, b in got), [t for ts, _ in got for t in ts])


@workload("append")
def w_append(s):
    """500 APPENDs in a row (LITERAL+ where there is)"""
    c = s.conn()
    box = s.temp(c, "append")
    c.has("LITERAL+")
    mails = [s.mail(i) for i in range(500)]
    start = clock()
    times = [timed(c.append, box, m, b"\\Seen", s.date(i)) for i, m in enumerate(mails)]
    wall = clock() - start
    c.do(b"DELETE " + quote(box))
    s.made.discard(box)
    c.logout()
    return result(wall, 500, sum(map(len, mails)), times, literal_plus=c.has("LITERAL+"))


@workload("import")
def w_import(s):
    """APPEND of --messages mails into the big mailbox"""
    c = s.conn()
    s.ready = False
    try:
        c.do(b"DELETE " + quote(s.big))
    except Refused:
        pass
    c.do(b"CREATE " + quote(s.big))
    c.has("LITERAL+")
    n, total, times = s.o.messages, 0, []
    start = clock()
    for i in range(n):
        m = s.mail(i)
        total += len(m)
        times.append(timed(c.append, s.big, m, s.flags(i), s.date(i)))
    wall = clock() - start
    c.logout()
    s.ready = True
    tenth = max(1, n // 10)
    return result(
        wall,
        n,
        total,
        times,
        first_tenth_ms=round(sum(times[:tenth]) / tenth * 1e3, 3),
        last_tenth_ms=round(sum(times[-tenth:]) / tenth * 1e3, 3),
    )


@workload("login-select")
def w_login_select(s):
    """connect, LOGIN, SELECT INBOX, LOGOUT: 10 times; login_ms is LOGIN alone"""
    login, sel, whole = [], [], []
    for _ in range(10):
        t0 = clock()
        c = Imap(s)
        t1 = clock()
        c.login()
        t2 = clock()
        n = c.select("INBOX")[0]
        t3 = clock()
        c.logout()
        whole.append(clock() - t0)
        login.append(t2 - t1)
        sel.append(t3 - t2)
    return result(
        sum(whole),
        10,
        None,
        whole,
        login_ms=stats(login)["median_ms"],
        select_ms=stats(sel)["median_ms"],
        inbox=n,
    )


@workload("select-big")
def w_select_big(s):
    """SELECT of the big mailbox: first after LOGIN (5 logins), and warm (20 times in one session)"""
    s.ensure_big()
    cold, warm = [], []
    for _ in range(5):
        c = s.conn()
        cold.append(timed(c.select, s.big))
        c.logout()
    c = s.conn()
    c.select(s.big)
    for _ in range(20):
        c.select("INBOX", examine=True)
        warm.append(timed(c.select, s.big))
    c.logout()
    return result(
        sum(warm), 20, None, warm, cold_ms=stats(cold)["median_ms"], first_ms=round(cold[0] * 1e3, 3)
    )


def fetching(items, doc):
    def run(s):
        s.ensure_big()
        times, nbytes = [], 0
        for _ in range(s.o.reps):
            c = s.conn()
            n = c.select(s.big)[0]
            before = c.rx
            times.append(timed(c.do, b"UID FETCH 1:* " + items))
            nbytes = c.rx - before
            c.logout()
        wall = statistics.median(times)
        return result(wall, n, nbytes, None, first_s=round(times[0], 4), reps=len(times))

    run.__doc__ = f"UID FETCH 1:* {doc}; first and median of --reps new sessions"
    return run


TB = (
    b"(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority "
    b"References Newsgroups In-Reply-To Content-Type Reply-To)])"
)
WORKLOADS["fetch-flags"] = fetching(b"(UID FLAGS)", "(UID FLAGS)")
ENV = b"(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
WORKLOADS["fetch-env"] = fetching(ENV, ENV.decode())
WORKLOADS["fetch-hdr"] = fetching(TB, "of the header fields that Thunderbird asks for")
WORKLOADS["fetch-bodies"] = fetching(b"(BODY.PEEK[])", "(BODY.PEEK[])")


@workload("fetch-one")
def w_fetch_one(s):
    """300 single UID FETCHes of random whole messages"""
    s.ensure_big()
    c = s.conn()
    c.select(s.big)
    uids = random.Random(1).choices(c.uids(), k=300)
    before = c.rx
    start = clock()
    times = [timed(c.do, b"UID FETCH %d (BODY.PEEK[])" % u) for u in uids]
    wall = clock() - start
    nbytes = c.rx - before
    c.logout()
    return result(wall, 300, nbytes, times)


def searching(doc, key):
    def run(s):
        s.ensure_big()
        criteria = key(s)
        c = s.conn()
        c.select(s.big)
        times = []
        for _ in range(5):
            t = clock()
            out = c.do(b"UID SEARCH " + criteria, keep=True)
            times.append(clock() - t)
        c.logout()
        hits = sum(len(m.split()) for m in re.findall(rb"\* SEARCH([ \d]*)", out))
        return result(
            statistics.median(times),
            1,
            None,
            None,
            first_s=round(times[0], 4),
            hits=hits,
            query=criteria.decode("latin1"),
        )

    run.__doc__ = f"UID SEARCH {doc}; first and median of 5"
    return run


def rare_word(s):
    """A word that stands in 1 to 5 of the big mailbox's mails as plain text."""
    if s.o.rare_word:
        return s.o.rare_word.encode()
    if s.rare is None:
        chosen = [m.lower() for m in s.mails[: s.o.messages] if len(m) <= 50000]
        for m in chosen[len(chosen) // 2 :][:50]:
            for w in sorted(set(re.findall(rb"\s([a-z]{7,10})\s", m.partition(b"\r\n\r\n")[2]))):
                if 1 <= sum(w in x for x in chosen) <= 5:
                    s.rare = w
                    return w
        s.rare = b"unfindable"
    return s.rare


WORKLOADS["search-flag"] = searching("UNSEEN", lambda _: b"UNSEEN")
WORKLOADS["search-from"] = searching("FROM --from-word", lambda s: b"FROM " + quote(s.o.from_word))
WORKLOADS["search-subject"] = searching(
    "SUBJECT --subject-word", lambda s: b"SUBJECT " + quote(s.o.subject_word)
)
WORKLOADS["search-text"] = searching(
    "TEXT with a word of 1 to 5 mails", lambda s: b"TEXT " + quote(rare_word(s))
)
WORKLOADS["search-body"] = searching(
    "BODY w1 BODY w2, --body-words", lambda s: b" ".join(b"BODY " + quote(w) for w in s.o.body_words.split())
)


@workload("store-one")
def w_store_one(s):
    """300 single UID STOREs (\\Flagged on and off)"""
    s.ensure_big()
    c = s.conn()
    c.select(s.big)
    uids = random.Random(2).choices(c.uids(), k=150)
    cmds = [b"UID STORE %d %cFLAGS (\\Flagged)" % (u, sign) for u in uids for sign in b"+-"]
    start = clock()
    times = [timed(c.do, cmd) for cmd in cmds]
    wall = clock() - start
    c.logout()
    return result(wall, 300, None, times)


@workload("store-all")
def w_store_all(s):
    """UID STORE 1:* +FLAGS.SILENT (\\Seen), undone afterwards with -FLAGS (wall_s is the first)"""
    s.ensure_big()
    c = s.conn()
    n = c.select(s.big)[0]
    c.do(b"UID STORE 1:* -FLAGS.SILENT (\\Seen)")
    wall = timed(c.do, b"UID STORE 1:* +FLAGS.SILENT (\\Seen)")
    undo = timed(c.do, b"UID STORE 1:* -FLAGS.SILENT (\\Seen)")
    c.logout()
    return result(wall, n, None, None, undo_s=round(undo, 4))


def some_500(c):
    """UID set of 500 messages in the selected big mailbox."""
    uids = c.uids()[:500]
    return len(uids), b"%d:%d" % (uids[0], uids[-1])


def put_500(s, c, name):
    """A mailbox of 500 mails, copied from the big one, or appended where COPY is refused."""
    s.ensure_big()
    box = s.temp(c, name)
    try:
        c.select(s.big)
        c.do(b"UID COPY " + some_500(c)[1] + b" " + quote(box))
    except Refused:
        for i in range(500):
            c.append(box, s.small(i))
    return box


@workload("copy-500")
def w_copy(s):
    """UID COPY of 500 messages, 3 times into new mailboxes"""
    s.ensure_big()
    c = s.conn()
    c.select(s.big)
    n, seq = some_500(c)
    times = []
    for i in range(3):
        box = s.temp(c, "copy%d" % i)
        times.append(timed(c.do, b"UID COPY " + seq + b" " + quote(box)))
    c.logout()
    return result(statistics.median(times), n, None, None, first_s=round(times[0], 4))


@workload("move-500")
def w_move(s):
    """UID MOVE of 500 messages to another mailbox and back"""
    c = s.conn()
    if not c.has("MOVE"):
        raise Refused("no MOVE in CAPABILITY")
    a = put_500(s, c, "move-a")
    b = s.temp(c, "move-b")
    times = []
    for source, dest in ((a, b), (b, a)):
        n = c.select(source)[0]
        times.append(timed(c.do, b"UID MOVE 1:* " + quote(dest)))
    c.logout()
    return result(statistics.median(times), n, None, None, first_s=round(times[0], 4))


@workload("expunge-500")
def w_expunge(s):
    """EXPUNGE of 500 messages, marked before (the marking is not timed)"""
    c = s.conn()
    box = put_500(s, c, "expunge")
    n = c.select(box)[0]
    c.do(b"UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
    wall = timed(c.do, b"EXPUNGE")
    c.logout()
    return result(wall, n)


@workload("status-all")
def w_status_all(s):
    """LIST and STATUS of 50 mailboxes of 3 mails, 5 rounds; times are of one round"""
    c = s.conn()
    boxes = [s.fill_temp(c, "status%02d" % i, 3) for i in range(50)]
    c.logout()
    c = s.conn()
    times = []
    for _ in range(5):
        t = clock()
        c.do(b'LIST "" "*"')
        for b in boxes:
            c.do(b"STATUS " + quote(b) + b" (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)")
        times.append(clock() - t)
    c.select("INBOX")
    for b in boxes:
        c.do(b"DELETE " + quote(b))
        s.made.discard(b)
    c.logout()
    return result(statistics.median(times), 51, None, None, first_s=round(times[0], 4))


@workload("noop")
def w_noop(s):
    """1000 NOOPs with INBOX selected"""
    c = s.conn()
    c.select("INBOX")
    start = clock()
    times = [timed(c.do, b"NOOP") for _ in range(1000)]
    wall = clock() - start
    c.logout()
    return result(wall, 1000, None, times)


def waking(s, box, deliver):
    """50 deliveries; from the delivery's completion, and from its start, to the EXISTS at the idling client."""
    watch = s.conn(s.watch)
    watch.select(box)
    watch.idle()
    after, whole = [], []
    seen = []
    for i in range(50):
        seen.clear()
        failed = []

        def listen():
            try:
                seen.append(watch.wait_exists())
            except Exception as e:
                failed.append(e)

        t = threading.Thread(target=listen, daemon=True)
        t.start()
        start = clock()
        deliver(i)
        end = clock()
        t.join(s.o.wake_timeout)
        if not seen:
            raise Broken(
                f"no EXISTS within {s.o.wake_timeout} s of delivery {i}"
                + (f": {failed[0]}" if failed else "")
            )
        after.append(max(0.0, seen[0] - end))
        whole.append(seen[0] - start)
        time.sleep(0.02)
    watch.done()
    watch.logout()
    return result(sum(whole), 50, None, after, from_start_ms=stats(whole)["median_ms"])


@workload("idle-wake-append")
def w_idle_append(s):
    """from the completion of an APPEND by another connection to the EXISTS at an idling one, 50 times (0: it came before)"""
    c = s.conn()
    if not c.has("IDLE"):
        raise Refused("no IDLE in CAPABILITY")
    box = s.temp(c, "wake")
    r = waking(s, box, lambda i: c.append(box, s.small(i)))
    c.logout()
    return r


@workload("idle-wake-lmtp")
def w_idle_lmtp(s):
    """the same for LMTP deliveries to INBOX"""
    need_lmtp(s)
    s.note_inbox()
    mails = [stuff(s.small(i)) for i in range(50)]
    c = Lmtp(s)
    r = waking(s, "INBOX", lambda i: c.deliver(mails[i]))
    c.quit()
    return r


@workload("idle-conns")
def w_idle_conns(s):
    """PSS of the server's process tree with no connection and with --idle-conns idling in INBOX"""
    if not s.pid:
        raise Refused("no --server-pid given")
    time.sleep(1)
    before, procs0 = tree_pss(s.pid)
    conns, start = [], clock()
    try:
        for _ in range(s.o.idle_conns):
            c = s.conn()
            conns.append(c)
            c.select("INBOX")
            c.idle()
        wall = clock() - start
        time.sleep(2)
        after, procs1 = tree_pss(s.pid)
    finally:
        for c in conns:
            try:
                c.sock.sendall(b"DONE\r\n")
                c.logout()
            except (OSError, Broken):
                c.close()
    return result(
        wall,
        len(conns),
        None,
        None,
        pss0_mb=before,
        pss_mb=after,
        procs=procs1,
        procs0=procs0,
        kb_per_conn=round((after - before) * 1024 / len(conns), 1),
    )


MIX = {
    "FETCH": 1187,
    "SELECT": 746,
    "SEARCH": 658,
    "UNSELECT": 515,
    "NOOP": 295,
    "STATUS": 203,
    "LIST": 132,
    "CHECK": 96,
    "STORE": 23,
}


@workload("mixed")
def w_mixed(s):
    """10 clients for 20 s with a command mix as seen on a live server, on 4 mailboxes of 100 mails and the big one"""
    s.ensure_big()
    c = s.conn()
    unselect = b"UNSELECT" if c.has("UNSELECT") else b"CLOSE"
    boxes = [s.fill_temp(c, "mix%d" % i, 100) for i in range(4)] + [s.big]
    c.logout()

    def work(i, gate):
        rnd = random.Random(1000 + i)
        c = s.conn()
        names, weights = list(MIX), list(MIX.values())
        times, refused = {n: [] for n in names}, {}
        size = 0
        gate.wait()
        end = clock() + s.o.mixed_secs
        while clock() < end:
            name = rnd.choices(names, weights)[0]
            if not size and name in ("FETCH", "SEARCH", "UNSELECT", "CHECK", "STORE"):
                name = "SELECT"
            t = clock()
            try:
                if name == "SELECT":
                    size = c.select(rnd.choice(boxes))[0]
                elif name == "FETCH":
                    a = rnd.randint(1, size)
                    b = min(size, a + rnd.choice((0, 0, 0, 9, 49)))
                    what = rnd.choice(
                        (b"(UID FLAGS)", TB, b"(UID ENVELOPE BODYSTRUCTURE)", b"(UID BODY.PEEK[])")
                    )
                    if b - a > 9:
                        what = rnd.choice((b"(UID FLAGS)", TB))
                    c.do(b"FETCH %d:%d " % (a, b) + what)
                elif name == "SEARCH":
                    c.do(
                        b"UID SEARCH "
                        + rnd.choice((b"UNSEEN", b"SINCE 1-Jan-2024", b"FLAGGED", b'FROM "yahoo"'))
                    )
                elif name == "UNSELECT":
                    c.do(unselect)
                    size = 0
                elif name == "STATUS":
                    c.do(b"STATUS " + quote(rnd.choice(boxes)) + b" (MESSAGES UNSEEN UIDNEXT)")
                elif name == "LIST":
                    c.do(b'LIST "" "*"')
                elif name == "STORE":
                    c.do(b"STORE %d %cFLAGS (\\Answered)" % (rnd.randint(1, size), rnd.choice(b"+-")))
                else:
                    c.do(name.encode())
                times[name].append(clock() - t)
            except Refused as e:
                refused[name] = str(e)
                if sum(map(len, times.values())) == 0 and len(refused) > 3:
                    raise
        c.logout()
        return times, refused

    wall, got = parallel(10, work)
    every = [t for times, _ in got for ts in times.values() for t in ts]
    per = {n: stats([t for times, _ in got for t in times[n]]).get("median_ms") for n in MIX}
    refused = {k: v for _, r in got for k, v in r.items()}
    return result(
        s.o.mixed_secs,
        len(every),
        None,
        every,
        max_ms=round(max(every) * 1e3, 1) if every else None,
        per_command_median_ms=per,
        **({"refused_commands": refused} if refused else {}),
    )


ORDER = [
    "lmtp-seq",
    "lmtp-par",
    "append",
    "import",
    "login-select",
    "select-big",
    "fetch-flags",
    "fetch-env",
    "fetch-hdr",
    "fetch-bodies",
    "fetch-one",
    "search-flag",
    "search-from",
    "search-subject",
    "search-text",
    "search-body",
    "store-one",
    "store-all",
    "copy-500",
    "move-500",
    "expunge-500",
    "status-all",
    "noop",
    "idle-wake-append",
    "idle-wake-lmtp",
    "idle-conns",
    "mixed",
]


# ---------------------------------------------------------------- running and reporting


def cpu():
    return sum(sum(resource.getrusage(w)[:2]) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_one(s, name):
    r = {"server": s.label, "workload": name}
    used, load = cpu(), os.getloadavg()[0]
    try:
        r.update(WORKLOADS[name](s))
    except Refused as e:
        r["refused"] = str(e)
    except (Broken, OSError) as e:
        r["failed"] = f"{type(e).__name__}: {e}"
    r["client_cpu_s"] = round(cpu() - used, 3)
    r["load"] = round(load, 2)  # the machine's load average before: other work disturbs the figures
    print(json.dumps(r), flush=True)
    return r


def measure(r):
    """The one number that stands for a workload in ratios: smaller is better."""
    if "wall_s" not in r:
        return None
    if r["workload"] == "idle-conns":
        return r["kb_per_conn"]
    if r["workload"] == "mixed":
        return 1 / r["ops_s"] if r["ops_s"] else None
    if r["workload"].startswith("idle-wake"):
        return r["from_start_ms"]
    return r["wall_s"]


def versus(a, b, names, rounds):
    for name in names:
        got = {a.label: [], b.label: []}
        for i in range(rounds):
            for s in (a, b) if i % 2 == 0 else (b, a):
                got[s.label].append(measure(run_one(s, name)))
        ma, mb = ([x for x in got[s.label] if x is not None] for s in (a, b))
        line = {"workload": name, "vs": f"{a.label} / {b.label}", "rounds": rounds}
        if ma and mb and statistics.median(mb):
            line["ratio"] = round(statistics.median(ma) / statistics.median(mb), 3)
            line["means"] = "cost of the first over the second: below 1 the first is better"
        print(json.dumps(line), flush=True)


def cell(r):
    if r is None:
        return ""
    if "refused" in r:
        return "refused"
    if "failed" in r:
        return "failed"
    w = r["workload"]
    sec = lambda x: f"{x * 1e3:.1f} ms" if x < 1 else f"{x:.2f} s"
    ms = lambda x: f"{x:.2f} ms" if x < 10 else f"{x:.0f} ms"
    if w in ("lmtp-seq", "lmtp-par", "append", "import"):
        return f"{r['ops_s']:.0f}/s, {ms(r['median_ms'])} / {ms(r['p95_ms'])}, {r['MB_s']:.1f} MB/s"
    if w == "login-select":
        return f"{ms(r['median_ms'])} (login {ms(r['login_ms'])}, select {ms(r['select_ms'])})"
    if w == "select-big":
        return f"cold {ms(r['cold_ms'])} (first {ms(r['first_ms'])}), warm {ms(r['median_ms'])}"
    if w == "fetch-bodies":
        return f"{sec(r['wall_s'])} (first {sec(r['first_s'])}), {r['MB_s']:.0f} MB/s"
    if w.startswith("search"):
        return f"{sec(r['wall_s'])} (first {sec(r['first_s'])}), {r['hits']} hits"
    if w in ("fetch-one", "store-one", "noop"):
        return f"{ms(r['median_ms'])} / {ms(r['p95_ms'])}, {r['ops_s']:.0f}/s"
    if w.startswith("idle-wake"):
        return f"{ms(r['median_ms'])} / {ms(r['p95_ms'])}, from start {ms(r['from_start_ms'])}"
    if w == "idle-conns":
        return f"{r['pss0_mb']:.0f} → {r['pss_mb']:.0f} MB, {r['kb_per_conn']:.0f} kB each"
    if w == "mixed":
        return f"{r['ops_s']:.0f}/s, {ms(r['median_ms'])} / {ms(r['p95_ms'])}"
    if "first_s" in r:
        return f"{sec(r['wall_s'])} (first {sec(r['first_s'])})"
    return sec(r["wall_s"])


def table(paths):
    rows, servers = {}, []
    for p in paths:
        for line in open(p):
            r = json.loads(line)
            if "server" not in r:
                continue
            if r["server"] not in servers:
                servers.append(r["server"])
            rows.setdefault(r["workload"], {})[r["server"]] = r
    print("| workload |", " | ".join(servers), "|")
    print("|---" * (len(servers) + 1) + "|")
    for w in [w for w in ORDER if w in rows]:
        print(f"| {w} |", " | ".join(cell(rows[w].get(s)) for s in servers), "|")


def ratios(paths):
    """Ours (the first file) beside each peer: figures, and how many times the peer's cost ours is."""
    runs = [{r["workload"]: r for r in map(json.loads, open(p)) if "server" in r} for p in paths]
    names = [next(iter(run.values()))["server"] for run in runs]
    print("| workload |", names[0], "|", " | ".join(f"{n} | ratio" for n in names[1:]), "|")
    print("|---" * (2 * len(names)) + "|")
    for w in [w for w in ORDER if w in runs[0]]:
        cells = [cell(runs[0][w])]
        for run in runs[1:]:
            ours, theirs = measure(runs[0][w]), measure(run[w]) if w in run else None
            cells += [cell(run.get(w)), f"{ours / theirs:.2f}" if ours and theirs else ""]
        print(f"| {w} |", " | ".join(cells), "|")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--imap", help="HOST:PORT")
    p.add_argument("--lmtp", help="HOST:PORT, or smtp:HOST:PORT")
    p.add_argument("--user", default="alice")
    p.add_argument("--password", default="hunter2")
    p.add_argument(
        "--rcpt", help="recipient of deliveries (default: user, with @localhost if it has no domain)"
    )
    p.add_argument("--corpus", help="folder of *.eml files with CRLF line ends")
    p.add_argument("--label", help="the server's name in the output (default: its address)")
    p.add_argument("--server-pid", type=int, help="for idle-conns")
    p.add_argument(
        "--workloads",
        default="all",
        help="names or prefixes with commas between; -NAME leaves one out of all",
    )
    p.add_argument("--messages", type=int, default=5000, help="size of the big mailbox")
    p.add_argument("--mailbox", default="bench", help="name of the big mailbox")
    p.add_argument("--keep", action="store_true", help="leave the big mailbox there for later runs")
    p.add_argument(
        "--reps", type=int, default=3, help="repetitions of the fetch workloads, each in a new session"
    )
    p.add_argument("--idle-conns", type=int, default=200)
    p.add_argument("--mixed-secs", type=float, default=20)
    p.add_argument(
        "--timeout", type=float, default=300, help="seconds without a byte before a workload has failed"
    )
    p.add_argument(
        "--watch",
        metavar="HOST:PORT",
        help="where the idle-wake workloads idle: another server of the account",
    )
    p.add_argument("--wake-timeout", type=float, default=60)
    p.add_argument("--from-word", default="yahoo")
    p.add_argument("--subject-word", default="razor")
    p.add_argument("--body-words", default="kernel server")
    p.add_argument("--rare-word")
    p.add_argument("--vs", metavar="HOST:PORT", help="a second IMAP server, run in turn with the first")
    p.add_argument("--vs-lmtp")
    p.add_argument("--vs-user")
    p.add_argument("--vs-password")
    p.add_argument("--vs-rcpt")
    p.add_argument("--vs-label")
    p.add_argument("--vs-pid", type=int)
    p.add_argument("--rounds", type=int, default=3, help="with --vs: rounds of each workload")
    p.add_argument("--table", nargs="+", metavar="FILE", help="print a table of earlier output and end")
    p.add_argument(
        "--ratios", nargs="+", metavar="FILE", help="print a table with the ratios of the first to the others"
    )
    p.add_argument("--list", action="store_true", help="print the workloads and end")
    o = p.parse_args()
    if o.table:
        return table(o.table)
    if o.ratios:
        return ratios(o.ratios)
    if o.list:
        for n in ORDER:
            print(f"{n:18} {(WORKLOADS[n].__doc__ or '').strip()}")
        return None
    if not o.imap or not o.corpus:
        p.error("--imap and --corpus are needed")
    asked = [w.strip() for w in o.workloads.split(",") if w.strip()]
    wanted = [w for w in asked if not w.startswith("-")]
    out = [w[1:] for w in asked if w.startswith("-")]
    names = [
        n
        for n in ORDER
        if (not wanted or wanted == ["all"] or any(n.startswith(w) for w in wanted))
        and not any(n.startswith(w) for w in out)
    ]
    if not names:
        p.error(f"no workload matches {o.workloads}")
    mails = []
    for f in sorted(os.listdir(o.corpus)):
        if f.endswith(".eml"):
            with open(os.path.join(o.corpus, f), "rb") as m:
                mails.append(m.read())
        if len(mails) >= max(o.messages, 1200):
            break
    if not mails:
        p.error(f"no *.eml in {o.corpus}")
    a = Server(o, o.label or o.imap, o.imap, o.lmtp, o.user, o.password, o.rcpt, o.server_pid, mails)
    servers = [a]
    if o.vs:
        servers.append(
            Server(
                o,
                o.vs_label or o.vs,
                o.vs,
                o.vs_lmtp,
                o.vs_user or o.user,
                o.vs_password or o.password,
                o.vs_rcpt,
                o.vs_pid,
                mails,
            )
        )
    try:
        if o.vs:
            versus(*servers, names, o.rounds)
        else:
            for name in names:
                run_one(a, name)
    finally:
        for s in servers:
            try:
                s.cleanup()
            except Exception as e:
                print(f"cleanup of {s.label}: {type(e).__name__}: {e}", file=sys.stderr)


if __name__ == "__main__":
    main()
