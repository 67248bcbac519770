#!/usr/bin/python3
"""Data for the benchmarks, the same in every run: mkdata.py tree DIR COUNT | photos DIR BYTES | files DIR COUNT SIZE

tree: COUNT small files in folders, with sizes as in a source tree (median about 6 KiB, a few large). photos: files of 2 to 8 MB.
"""
import os
import random
import sys


def write(path, size, rng):
    with open(path, "wb") as f:
        f.write(rng.randbytes(size))


def tree(base, count):
    rng = random.Random(1)
    for i in range(count):
        folder = f"{base}/d{i // 400:03d}/s{i // 20 % 20:02d}"
        os.makedirs(folder, exist_ok=True)
        write(f"{folder}/file_{i:05d}.c", min(int(rng.lognormvariate(8.7, 1.2)) + 1, 400000), rng)


def photos(base, total):
    rng = random.Random(2)
    i = 0
    while total > 0:
        size = min(rng.randint(2000000, 8000000), total)
        folder = f"{base}/2026-{i % 12 + 1:02d}"
        os.makedirs(folder, exist_ok=True)
        write(f"{folder}/IMG_{i:05d}.JPG", size, rng)
        total -= size
        i += 1


def files(base, count, size):
    rng = random.Random(3)
    os.makedirs(base, exist_ok=True)
    for i in range(count):
        write(f"{base}/file_{i:05d}", size, rng)


if __name__ == "__main__":
    kind, base, *numbers = sys.argv[1:]
    {"tree": tree, "photos": photos, "files": files}[kind](base, *map(int, numbers))
