#!/usr/bin/python3
"""Servers for the tests, on loopback, with free ports, in a directory of the caller's; as root or as anybody.

As a module:   with servers.start("apache", directory) as s: ... s.url, s.user, s.secret
As a program:  servers.py KIND DIR [--user U] [--secret S] [--stay]
               prints one line, the store's URL; serves until SIGTERM, SIGINT or (without --stay) the end of its
               standard input.

Started by root, Apache works as www-data, which must be able to reach DIR.

KIND: apache, apache-digest, lighttpd (WebDAV), swift (S3). Where a server's data lies: s.root.
"""
import argparse
import base64
import hashlib
import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
BUCKET = "obscura"
APACHE_MODULES = "/usr/lib/apache2/modules"
START_TIMEOUT = 15


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def program(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise SystemExit(f"{name} is not installed")
    return found


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


class Server:
    def __init__(self, base, user, secret):
        self.base = os.path.abspath(base)
        self.user, self.secret = user, secret
        self.process = None
        self.url = self.root = None
        os.makedirs(self.base, exist_ok=True)

    def __enter__(self):
        self.launch()
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, command, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, **options)

    def wait_for_port(self, port):
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.process.args[0]} ended while starting; see {self.base}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("OPTIONS", "/")
                connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise SystemExit(f"{self.process.args[0]} did not start")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            self.process.stdin.close()

    def make_dirs(self, *names):
        for name in names:
            os.makedirs(os.path.join(self.base, name), exist_ok=True)
        self.root = os.path.join(self.base, "root")


class Apache(Server):
    """mod_dav_fs. Started by root, its workers must be somebody else."""
    auth = "Basic"

    def credentials(self):
        if self.auth == "Basic":
            digest = base64.b64encode(hashlib.sha1(self.secret.encode()).digest()).decode()
            return f"{self.user}:{{SHA}}{digest}\n"
        return f"{self.user}:dav:" + hashlib.md5(f"{self.user}:dav:{self.secret}".encode()).hexdigest() + "\n"

    def conf(self, port):
        names = ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "auth_digest",
                 "dav", "dav_fs"]
        lines = [f"LoadModule {n}_module {APACHE_MODULES}/mod_{n}.so" for n in names]
        lines += ["ServerName 127.0.0.1", f"Listen 127.0.0.1:{port}", f'PidFile "{self.base}/run/pid"',
                  f'DefaultRuntimeDir "{self.base}/run"', f'ErrorLog "{self.base}/log"', f'DocumentRoot "{self.root}"',
                  f'DavLockDB "{self.base}/run/locks"', "StartServers 1", "ServerLimit 1", "ThreadsPerChild 32",
                  "MaxRequestWorkers 32"]
        if os.geteuid() == 0:
            lines += ["User www-data", "Group www-data"]
        lines += [f'<Directory "{self.root}">', "Dav On", "AllowOverride None", f"AuthType {self.auth}",
                  "AuthName dav", f'AuthUserFile "{self.base}/users"', "Require valid-user", "</Directory>"]
        return "\n".join(lines) + "\n"

    def launch(self):
        self.make_dirs("root/base", "run")
        write(f"{self.base}/users", self.credentials())
        port = free_port()
        write(f"{self.base}/conf", self.conf(port))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("www-data")
            os.chmod(self.base, 0o711)
            for name in ("root", "root/base", "run"):
                os.chown(f"{self.base}/{name}", owner.pw_uid, owner.pw_gid)
        self.run([program("apache2"), "-d", self.base, "-f", f"{self.base}/conf", "-D", "FOREGROUND"],
                 stderr=subprocess.DEVNULL)
        self.wait_for_port(port)
        self.url = f"http://127.0.0.1:{port}/base"


class ApacheDigest(Apache):
    auth = "Digest"


class Lighttpd(Server):
    def launch(self):
        self.make_dirs("root/base", "run", "tmp")
        write(f"{self.base}/users", f"{self.user}:{self.secret}\n")
        port = free_port()
        write(f"{self.base}/conf", "\n".join([
            'server.modules = ("mod_auth", "mod_authn_file", "mod_webdav")',
            'mimetype.assign = ("" => "application/octet-stream")',
            f'server.document-root = "{self.root}"', 'server.bind = "127.0.0.1"', f"server.port = {port}",
            f'server.errorlog = "{self.base}/log"', f'server.upload-dirs = ("{self.base}/tmp")',
            'webdav.activate = "enable"', f'webdav.sqlite-db-name = "{self.base}/run/webdav.db"',
            'auth.backend = "plain"', f'auth.backend.plain.userfile = "{self.base}/users"',
            'auth.require = ("/" => ("method" => "basic", "realm" => "dav", "require" => "valid-user"))', ""]))
        self.run([program("lighttpd"), "-D", "-f", f"{self.base}/conf"], stderr=subprocess.DEVNULL)
        self.wait_for_port(port)
        self.url = f"http://127.0.0.1:{port}/base"


class Swift(Server):
    def launch(self):
        self.root = f"{self.base}/disks"
        self.run(["/usr/bin/python3", f"{HERE}/swift_cluster.py", self.base, self.user, self.secret, BUCKET],
                 stdout=subprocess.PIPE, stderr=open(f"{self.base}/log", "w"), text=True)
        self.endpoint = self.process.stdout.readline().strip()
        if not self.endpoint:
            raise SystemExit(f"swift did not start; see {self.base}/log")
        self.url = f"s3://{BUCKET}/pre%20fix?endpoint={urllib.parse.quote(self.endpoint, safe=':/')}"


KINDS = {"apache": Apache, "apache-digest": ApacheDigest, "lighttpd": Lighttpd, "swift": Swift}


def start(kind, base, user=None, secret="sesame, open"):
    if kind == "swift":
        secret = secret.replace(" ", "").replace(",", "")
    return KINDS[kind](base, user or ("test:tester" if kind == "swift" else "alice"), secret)


def main():
    parser = argparse.ArgumentParser(description="A server for tests, on loopback.")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("dir")
    parser.add_argument("--user")
    parser.add_argument("--secret", default="sesame")
    parser.add_argument("--stay", action="store_true", help="do not end with the standard input")
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with start(args.kind, args.dir, args.user, args.secret) as server:
        print(server.url, flush=True)
        while args.stay:
            signal.pause()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
