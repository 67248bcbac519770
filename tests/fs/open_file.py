#!/usr/bin/env python3
"""A program that keeps files open, for tests: does what each line of its input says and answers with one line.

open NAME PATH r|w|a   close NAME   read NAME   size NAME   write NAME OFFSET TEXT   append NAME TEXT   fsync NAME
map NAME (shared)      poke NAME OFFSET TEXT (into the map)   mtime NAME
Answers: ok, the value, or the name of the error.
"""
import errno
import mmap
import os
import sys

files, maps = {}, {}
flags = {"r": os.O_RDONLY, "w": os.O_RDWR, "a": os.O_RDWR | os.O_APPEND}


def do(op, name, *rest):
    if op == "open":
        files[name] = os.open(rest[0], flags[rest[1]])
    elif op == "close":
        os.close(files.pop(name))
    elif op == "read":
        return os.pread(files[name], 1 << 20, 0).decode("ascii", "backslashreplace")
    elif op == "size":
        return str(os.fstat(files[name]).st_size)
    elif op == "mtime":
        return str(int(os.fstat(files[name]).st_mtime))
    elif op == "write":
        os.pwrite(files[name], rest[1].encode(), int(rest[0]))
    elif op == "append":
        os.write(files[name], rest[0].encode())
    elif op == "fsync":
        os.fsync(files[name])
    elif op == "map":
        maps[name] = mmap.mmap(files[name], 0)
    elif op == "poke":
        maps[name][int(rest[0]):int(rest[0]) + len(rest[1])] = rest[1].encode()
    else:
        return "unknown " + op
    return "ok"


for line in sys.stdin:
    try:
        print(do(*line.rstrip("\n").split("\t")), flush=True)
    except OSError as e:
        print(errno.errorcode.get(e.errno, str(e.errno)), flush=True)
