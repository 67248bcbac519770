#!/usr/bin/python3
"""Every store, and every misbehaviour of servers and networks that we know of, against store_battery. [http] [store-http]

stores.py BATTERY [WORD] [-v]    BATTERY: the program. WORD: only a part: real, proxy, tls, a kind of server, or the
                                 misbehaviours with that word in their name
Ends with "N passed, N failed"; exit code 0 when none failed.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import servers  # noqa: E402

BATTERY = os.path.abspath(sys.argv[1])
WORD = sys.argv[2] if len(sys.argv) > 2 else ""
passed = failed = 0
counting = threading.Lock()


def add(more_passed, more_failed):
    global passed, failed
    with counting:
        passed += more_passed
        failed += more_failed


def check(name, ok, detail=""):
    add(1 if ok else 0, 0 if ok else 1)
    if not ok:
        print(f"{name}: failed {detail}", flush=True)


def wanted(name):
    return WORD in name


def chosen(kind):
    return WORD in ("", "real", kind)


def battery(name, url, *steps, user=None, secret=None, **env):
    """Runs the program and adds up what it counted."""
    environment = dict(os.environ, **{k: str(v) for k, v in env.items()})
    for key, value in (("OBS_USER", user), ("OBS_SECRET", secret)):
        environment.pop(key, None)
        if value is not None:
            environment[key] = value
    begun = time.monotonic()
    run = subprocess.run([BATTERY, url, *steps], env=environment, text=True, capture_output=True, timeout=120)
    counted = re.search(r"(\d+) passed, (\d+) failed", run.stdout)
    if not counted or run.returncode != (1 if int(counted[2]) else 0):
        check(name, False, f"(ended with {run.returncode}) {run.stderr}")
    if not counted:
        return
    add(int(counted[1]), int(counted[2]))
    if int(counted[2]):
        print(f"{name} {' '.join(steps)}\n" + "\n".join(run.stderr.splitlines()[:20]), flush=True)
    if "-v" in sys.argv:
        print(f"  {name} {' '.join(steps)}: {counted[0]}, {time.monotonic() - begun:.2f} s", flush=True)


class Helper:
    """A program of servers/ that says where it listens and obeys lines on its standard input."""

    def __init__(self, script, *args):
        self.process = subprocess.Popen(["/usr/bin/python3", os.path.join(servers.HERE, script), *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.address = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        return self.process.stdout.readline().strip()

    def stats(self):
        return dict((k, int(v)) for k, v in (p.split("=") for p in self.tell("stats").split()))


def real_servers(base):
    folder = os.path.join(base, "folder store")
    os.mkdir(folder)
    battery("folder", "file://" + folder.replace(" ", "%20"))
    for kind in ("apache", "apache-digest", "lighttpd"):
        if not chosen(kind):
            continue
        with servers.start(kind, os.path.join(base, kind)) as s:
            # a base that is not there yet, two levels deep
            battery(kind, s.url + "/new%20one/deeper", user=s.user, secret=s.secret)
    if chosen("swift"):
        with servers.start("swift", os.path.join(base, "swift")) as s:
            battery("swift", s.url + "&pagesize=100", user=s.user, secret=s.secret, OBS_OBJECTS=250)
            battery("swift, wrong region", s.url + "&region=nowhere-1", "put=netperm", "list=netperm",
                    user=s.user, secret=s.secret)
            battery("swift, no such bucket", s.url.replace("s3://obscura", "s3://nothing"), "put=netperm",
                    "list=netperm", user=s.user, secret=s.secret)
            through_proxy("swift", s, s.endpoint.split("//")[1],
                          lambda p: s.url.replace(s.endpoint.split("//")[1], p))


def in_the_clear(base):
    """http to another machine (here: any name, by way of a proxy) only if it is asked for; and then no login is sent
    before the server has said how it wants it."""
    for kind in ("apache", "apache-digest"):
        with servers.start(kind, os.path.join(base, "clear-" + kind)) as s:
            login = dict(user=s.user, secret=s.secret, http_proxy="http://" + s.url.split("/")[2], no_proxy="")
            url = "http://store.example.org/base"
            run = subprocess.run([BATTERY, url, "put=ok"], text=True, capture_output=True)
            check("http is refused", run.returncode == 2 and "in the clear" in run.stderr, run.stderr)
            battery(kind + " in the clear", url, "put=ok", "get=ok", "many=ok", OBS_ALLOW_HTTP=1, **login)
            battery(kind + " in the clear, wrong login", url, "put=login", "list=login", OBS_ALLOW_HTTP=1,
                    **dict(login, secret="wrong"))


def no_server():
    port = servers.free_port()
    battery("nobody listens", f"http://127.0.0.1:{port}/x", "put=net", "get=net", "list=net", "many=net")


def through_proxy(name, server, target, url_by):
    """What a network does in between."""
    login = dict(user=server.user, secret=server.secret)
    with Helper("proxy.py", target) as proxy:
        url = url_by(proxy.address)
        battery(name + " by proxy", url, "put=ok", "many=ok", "get=ok", "parts=ok", **login)
        stats = proxy.stats()
        check(name + ": transfers run in parallel", stats["most"] > 1, stats)
        check(name + ": connections are reused", stats["accepted"] <= 12, stats)
        for fault in ("cut 20000 up 1", "reset 20000 up 1", "cut 2000000 up 1", "cut 100 down 1", "reset 100 down 1",
                      "refuse 1"):
            proxy.tell(fault)
            battery(f"{name}, {fault}", url, "big=ok", "delete=ok", "put=ok", "get=ok", **login)
            proxy.tell("clear")
        proxy.tell("cut 30000 down")
        battery(f"{name}, every answer cut", url, "get=net", "head=ok", "put=ok", **login)
        proxy.tell("clear")
        proxy.tell("drop")
        battery(f"{name}, no answer", url, "get=net", OBS_TIMEOUT=1, **login)
        battery(f"{name}, cancelled", url, "cancel=intr", OBS_TIMEOUT=60, **login)
        proxy.tell("clear")
        battery(f"{name}, afterwards", url, "put=ok", "try=ok", **login)


def long_way(base):
    """40 ms there and back: eight at once, not one after the other."""
    with servers.start("lighttpd", os.path.join(base, "far")) as s:
        target = s.url.split("/")[2]
        battery("far away, prepared", s.url, "many=ok", user=s.user, secret=s.secret)
        with Helper("proxy.py", target, "--delay", "20") as proxy:
            begun = time.monotonic()
            battery("far away", s.url.replace(target, proxy.address), "many=ok", user=s.user, secret=s.secret)
            took = time.monotonic() - begun
            stats = proxy.stats()
            check("far away: eight connections", stats["most"] == 8 and stats["accepted"] == 8, stats)
            if "-v" in sys.argv:
                print(f"  64 objects over 40 ms: {took:.2f} s")


# mode: the steps, each with what must come of it
BAD = {
    "good": "put=ok get=ok part=ok head=ok list=1 many=ok parts=ok delete=ok try=ok big=ok all=65",
    "portal": "put=netperm get=netperm head=netperm list=netperm delete=netperm try=netperm",
    "redirect": "put=netperm get=netperm head=netperm list=netperm delete=netperm",
    "noise": "put=net get=net list=net",
    "full507": "put=full many=full get=noent",
    "full413": "put=full big=full get=noent",
    "forbidden": "put=login get=login head=login list=login delete=login many=login",
    "readonly": "put=login get=noent",
    "busy": "put=ok get=ok part=ok head=ok list=1 delete=ok",
    "busy-long": "put=net get=net list=net",
    "error500": "get=net head=net list=net delete=net",
    "half": "put=ok get=ok big=ok many=ok",
    "lost": "put=ok get=ok big=ok many=ok",
    "lost502": "put=ok get=ok big=ok",
    "changed": "put=ok get=ok big=ok",
    "missing404": "put=ok get=ok big=ok many=ok list=2",
    "missing500": "put=ok get=ok big=ok many=ok list=2",
    "ignores-range": "put=ok get=ok part=ok parts=ok",
    "wrong-range": "put=ok part=format parts=format",
    "short-range": "put=ok part=format",
    "no-range-header": "put=ok part=format get=ok",
    "too-much": "put=ok part=format get=ok",
    "wrong-length": "put=ok get=net",
    "endless": "put=ok get=format",
    "endless-headers": "put=ok get=net",
    "silent": "put=ok get=net",
    "drip": "put=ok cancel=intr",
    "no-head-length": "put=ok head=ok",
    "stray": "put=ok get=ok part=ok many=ok list=1 parts=ok delete=ok",
    "foreign-names": "list=2 all=6",
    "photos": "list=0 all=1",
    "clutter": "list=0 all=0",
    "moved-names": "list=2",
    "no-sizes": "list=1",
    "endless-depth": "list=0 all=1",
    "endless-breadth": "list=format all=1000",
    "not-xml": "list=format",
    "cut-xml": "list=format",
    "bomb": "list=format",
    "deep": "list=format",
    "endless-list": "list=format",
}
BAD_S3 = {
    "s3-region": "put=netperm get=netperm list=netperm",
    "s3-clock": "put=login get=login",
    "s3-quota": "put=full",
    "s3-slow": "get=net list=net",
    "s3-no-etag": "put=net list=format",
    "s3-loop": "list=format",
    "s3-no-token": "list=format",
    "s3-endless": "list=format",
    "s3-empty-pages": "list=format all=format",
    "s3-photos": "list=0 all=2",
    "s3-clutter": "list=0 all=0",
}


def bad_servers():
    with Helper("badserver.py") as bad:
        def ask(mode, what):
            with urllib.request.urlopen(f"http://{bad.address}/{mode}?{what}") as answer:
                return answer.read().decode()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:  # they wait more than they work
            jobs = []
            for mode, steps in BAD.items():
                if wanted(mode):
                    jobs.append(pool.submit(battery, mode, f"http://{bad.address}/{mode}", *steps.split(),
                                            OBS_TIMEOUT=4))
            for mode, steps in BAD_S3.items():
                if wanted(mode):
                    jobs.append(pool.submit(battery, mode, f"s3://bucket?endpoint=http://{bad.address}/{mode}",
                                            *steps.split(), user="k", secret="s", OBS_TIMEOUT=4))
            for job in jobs:
                job.result()
        if WORD:
            return
        check("a put whose answer was lost is not sent again", "PUT=2" in ask("lost502", "counts").split(),
              ask("lost502", "counts"))
        check("half an object is written again", "PUT=132" in ask("half", "counts"), ask("half", "counts"))
        check("a login that is refused is not tried by all", int(re.search(r"PUT=(\d+)", ask("forbidden", "counts"))[1])
              <= 10, ask("forbidden", "counts"))
        check("a server that wants an hour is not asked again", ask("busy-long", "counts") == "GET=1 MKCOL=1 PROPFIND=1",
              ask("busy-long", "counts"))


def tls(base):
    """A certificate that is not known, or not this host's, is refused; nothing is sent then."""
    pem, cert = os.path.join(base, "pem"), os.path.join(base, "cert")
    for host, name in (("localhost", "right"), ("elsewhere.example.org", "wrong")):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-keyout", pem,
                        "-out", cert], check=True, stderr=subprocess.DEVNULL)
        with open(pem, "a", encoding="ascii") as f, open(cert, encoding="ascii") as c:
            f.write(c.read())
        with Helper("badserver.py", pem) as server:
            port = server.address.split(":")[1]
            url = f"https://localhost:{port}/good"
            login = dict(user="alice", secret="sesame")
            battery(f"TLS, {name} name, unknown CA", url, "put=netperm", "get=netperm", "list=netperm", **login)
            steps = ("put=ok get=ok part=ok list=1 many=ok try=ok" if name == "right" else "put=netperm get=netperm")
            battery(f"TLS, {name} name, known CA", url, *steps.split(), OBS_CA=cert, **login)
            battery("no TLS to a TLS server", f"http://localhost:{port}/good", "put=net", "get=net", **login)
    with Helper("badserver.py") as server:
        port = server.address.split(":")[1]
        battery("TLS to a server without", f"https://localhost:{port}/good", "put=net", "get=net", OBS_CA=cert)


def main():
    base = tempfile.mkdtemp(prefix="obscurafs-stores.")
    os.chmod(base, 0o711)  # a server that root starts works as somebody else
    try:
        if WORD in ("", "real", *servers.KINDS):
            real_servers(base)
        if wanted("proxy"):
            with servers.start("apache", os.path.join(base, "behind")) as s:
                target = s.url.split("/")[2]
                through_proxy("apache", s, target, lambda p: s.url.replace(target, p))
            long_way(base)
            no_server()
            in_the_clear(base)
        if wanted("tls"):
            tls(base)
        bad_servers()
    finally:
        shutil.rmtree(base)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
