#!/usr/bin/python3
"""Load for crash.sh: programs that write to a mount until it dies, and what must hold afterwards.

crash_load.py run DIR LOG SEED     works in DIR until the mount is gone; LOG (elsewhere) gets what was tried and what was done
crash_load.py verify DIR LOG       checks DIR against LOG; what is seen now becomes the least that must be seen from now on

Everything has a number that only grows. "try THING N" is logged before N is begun, "done THING N" after the last fsync that makes it
durable has returned. After a crash a thing must be at a number from the last done to the last tried, and whole.
"""
import hashlib
import mmap
import os
import random
import sys
import threading

BLOCK = 4096
BLOCKS = 64
RECORD = 700  # so that records cross pages
REPLACED, TOKENS = 5, 8


def content(thing, number):
    """What file ${thing} holds in state ${number}: of any size, and no two states alike."""
    if number == 0:
        return b""
    rng = random.Random(f"{thing} {number}")
    size = rng.choice((0, 1, 100, 4095, 4097, 20000, 66000, 300000, 1500000))
    return f"{thing} {number} {size}\n".encode() + rng.randbytes(size)


def unsynced_fault(seen, whole):
    """What is wrong with a new file that a crash met before its fsync had returned; None: nothing.

    Its end may be missing, and, since the kernel has several writes of one file under way, so may a part in the middle: a hole. What
    is there has to be right. Files whose fsync returned are compared whole; this is not for them.
    """
    if len(seen) > len(whole):
        return f"has {len(seen)} bytes, more than the {len(whole)} that were written"
    for at in range(0, len(seen), BLOCK):
        part = seen[at:at + BLOCK]
        if part != whole[at:at + len(part)] and any(part):
            return f"has other bytes at {at}"
    return None


def record(number):
    return (f"{number:08d}" + hashlib.sha256(str(number).encode()).hexdigest() * 12)[:RECORD].encode()


def block(index, number):
    if number == 0:
        return bytes(BLOCK)
    return f"{index:04d}{number:012d}".encode() + random.Random(f"{index} {number}").randbytes(BLOCK - 16)


class Log:
    def __init__(self, path):
        self.path = path
        self.done, self.tried = {}, {}
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                for line in f:
                    word, thing, number = line.split()
                    (self.done if word == "done" else self.tried)[thing] = int(number)
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, word, thing, number):
        os.write(self.fd, f"{word} {thing} {number}\n".encode())
        (self.done if word == "done" else self.tried)[thing] = number

    def range(self, thing):
        done = self.done.get(thing, 0)
        return done, max(done, self.tried.get(thing, 0))


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path, data, flags=os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        os.fsync(fd)
    finally:
        os.close(fd)


class Load:
    """The kinds of work. Each has a step, made again and again by one thread, and a check."""

    def __init__(self, base, log, seed=0):
        self.base, self.log, self.seed = base, log, seed
        self.problems = []
        self.durable = 0

    def path(self, *parts):
        return os.path.join(self.base, *parts)

    def prepare(self):
        for name in ("replace", "rewrite", "append", "blocks", "tokens0", "tokens1", "churn"):
            os.makedirs(self.path(name), exist_ok=True)
        path = self.path("blocks", "file")
        if not os.path.exists(path):
            write_synced(path, bytes(BLOCK * BLOCKS))
        for token in range(TOKENS):
            if not self.find_token(token):
                write_synced(self.path("tokens0", f"{token}.0"), content(f"token{token}", 1))
        for name in ("tokens0", "tokens1", "blocks", "."):
            sync_dir(self.path(name))

    def next(self, thing):
        number = self.log.range(thing)[1] + 1
        self.log.write("try", thing, number)
        return number

    def finish(self, thing, number):
        self.log.write("done", thing, number)
        self.durable += 1

    # a new file, then a rename over the old one
    def step_replace(self, rng):
        name = f"r{rng.randrange(REPLACED)}"
        number = self.next(name)
        temp = self.path("replace", f".{name}.new")
        write_synced(temp, content(name, number))
        os.rename(temp, self.path("replace", name))
        sync_dir(self.path("replace"))
        self.finish(name, number)

    def check_replace(self):
        for i in range(REPLACED):
            self.expect_file(f"r{i}", self.path("replace", f"r{i}"), torn=False)

    # cut to nothing and written anew in place
    def step_rewrite(self, rng):
        name = f"w{rng.randrange(3)}"
        number = self.next(name)
        write_synced(self.path("rewrite", name), content(name, number))
        sync_dir(self.path("rewrite"))
        self.finish(name, number)

    def check_rewrite(self):
        for i in range(3):
            self.expect_file(f"w{i}", self.path("rewrite", f"w{i}"), torn=True)

    # records at the end of a file, some of them synced
    def step_append(self, rng):
        number = self.log.range("append")[1]
        count = rng.randrange(1, 40)
        self.log.write("try", "append", number + count)
        data = b"".join(record(i) for i in range(number, number + count))
        fd = os.open(self.path("append", "file"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # a crash may have cut the end off: it goes on where the last whole state ended
            at = self.log.range("append")[0] * RECORD
            if os.fstat(fd).st_size != number * RECORD:
                os.truncate(fd, at)
                data = b"".join(record(i) for i in range(at // RECORD, number + count))
            else:
                at = number * RECORD
            os.pwrite(fd, data, at)
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_dir(self.path("append"))
        self.finish("append", number + count)

    def check_append(self):
        done, tried = self.log.range("append")
        data = self.read(self.path("append", "file")) or b""
        whole = b"".join(record(i) for i in range(tried))
        if not whole.startswith(data) or len(data) < done * RECORD:
            self.problem(f"append: {len(data)} bytes, at least {done * RECORD} expected, or they are others")
            return
        self.log.write("done", "append", len(data) // RECORD)

    # blocks in place, by pwrite and through a mapping
    def step_blocks(self, rng):
        index = rng.randrange(BLOCKS)
        thing = f"block{index}"
        number = self.next(thing)
        fd = os.open(self.path("blocks", "file"), os.O_RDWR)
        try:
            if index % 4 == 0:
                with mmap.mmap(fd, BLOCK * BLOCKS) as view:
                    view[index * BLOCK:(index + 1) * BLOCK] = block(index, number)
                    view.flush(index * BLOCK, BLOCK)
            else:
                os.pwrite(fd, block(index, number), index * BLOCK)
                os.fdatasync(fd)
        finally:
            os.close(fd)
        self.finish(thing, number)

    def check_blocks(self):
        data = self.read(self.path("blocks", "file"))
        if data is None or len(data) != BLOCK * BLOCKS:
            self.problem("blocks: the file is not whole")
            return
        for index in range(BLOCKS):
            done, tried = self.log.range(f"block{index}")
            seen = data[index * BLOCK:(index + 1) * BLOCK]
            found = [n for n in range(done, tried + 1) if seen == block(index, n)]
            if not found:
                self.problem(f"block {index}: none of the states {done} to {tried}")
            else:
                self.log.write("done", f"block{index}", found[-1])

    # a file that wanders between two directories and has a new name each time
    def find_token(self, token):
        return [(d, name) for d in (0, 1) for name in os.listdir(self.path(f"tokens{d}"))
                if name.split(".")[0] == str(token)]

    def step_tokens(self, rng):
        token = rng.randrange(TOKENS)
        where, name = self.find_token(token)[0]
        number = self.next(f"token{token}")
        os.rename(self.path(f"tokens{where}", name), self.path(f"tokens{1 - where}", f"{token}.{number}"))
        if rng.randrange(3) == 0:
            sync_dir(self.path(f"tokens{1 - where}"))
            sync_dir(self.path(f"tokens{where}"))
            self.finish(f"token{token}", number)

    def check_tokens(self):
        for token in range(TOKENS):
            done, tried = self.log.range(f"token{token}")
            found = self.find_token(token)
            if len(found) != 1:
                self.problem(f"token {token} is there {len(found)} times: {found}")
                continue
            number = int(found[0][1].split(".")[1])
            if not done <= number <= tried:
                self.problem(f"token {token} is at {number}, not from {done} to {tried}")
            if self.read(self.path(f"tokens{found[0][0]}", found[0][1])) != content(f"token{token}", 1):
                self.problem(f"token {token} has another content")
            self.log.write("done", f"token{token}", number)

    # made, synced, deleted: what is deleted stays so
    def step_churn(self, rng):
        number = self.next("churn")
        path = self.path("churn", str(number))
        write_synced(path, content("churn", number))
        os.link(path, path + ".link")
        os.unlink(path)
        os.unlink(path + ".link")
        if rng.randrange(4) == 0:
            sync_dir(self.path("churn"))
            self.finish("churn", number)

    def check_churn(self):
        done, tried = self.log.range("churn")
        for name in os.listdir(self.path("churn")):
            number = int(name.split(".")[0])
            if not done < number <= tried:
                self.problem(f"churn: {name} is back, {done} were deleted for good")
            else:
                wrong = unsynced_fault(self.read(self.path("churn", name)), content("churn", number))
                if wrong is not None:
                    self.problem(f"churn: {name} {wrong}")
            os.unlink(self.path("churn", name))
        sync_dir(self.path("churn"))
        self.log.write("done", "churn", tried)

    def problem(self, text):
        self.problems.append(text)

    def read(self, path):
        try:
            with open(path, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def expect_file(self, thing, path, torn):
        done, tried = self.log.range(thing)
        data = self.read(path)
        if data is None:
            if done > 0:
                self.problem(f"{thing}: is gone, state {done} was there")
            return
        for number in range(tried, max(done, 1) - 1, -1):
            if data == content(thing, number):
                self.log.write("done", thing, number)
                return
        if torn and any(unsynced_fault(data, content(thing, n)) is None for n in range(done + 1, tried + 1)):
            return
        self.problem(f"{thing}: {len(data)} bytes that are none of the states {done} to {tried}: {data[:40]!r}")

    def kinds(self):
        return sorted(name[5:] for name in dir(self) if name.startswith("step_"))

    def work(self, kind):
        rng = random.Random(f"{self.seed} {kind}")
        try:
            while True:
                getattr(self, "step_" + kind)(rng)
        except OSError:
            pass  # the mount died

    def run(self):
        self.prepare()
        print("ready", flush=True)
        threads = [threading.Thread(target=self.work, args=(kind,)) for kind in self.kinds()]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        print(f"{self.durable} durable", flush=True)

    def verify(self):
        if not os.path.isdir(self.base) and not self.log.done:
            return True
        for kind in self.kinds():
            getattr(self, "check_" + kind)()
        for text in self.problems:
            print(text)
        return not self.problems


def main():
    what, base, log = sys.argv[1:4]
    if what == "run":
        Load(base, Log(log), sys.argv[4]).run()
        return 0
    return 0 if Load(base, Log(log)).verify() else 1


sys.exit(main())
