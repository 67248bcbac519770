#!/usr/bin/python3
"""An S3 server that checks signatures: OpenStack Swift with s3api, one replica, all its parts in one process.

swift_cluster.py DIR KEY_ID SECRET BUCKET
    Takes free ports on loopback, makes the bucket, prints the S3 endpoint on one line and serves until SIGTERM or until
    its standard input ends. KEY_ID has the form account:user. DIR must be on a file system with user xattrs.
"""
import os
import signal
import socket
import subprocess
import sys
import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch(thread=False)

import eventlet.wsgi  # noqa: E402
from swift.common import utils  # noqa: E402

STORAGE = ("account", "container", "object")
REGION = "us-east-1"
# in the order in which a request meets them
FILTERS = {
    "catch_errors": "",
    "gatekeeper": "",
    "healthcheck": "",
    "cache": "memcache_servers = 127.0.0.1:{memcached}",
    "listing_formats": "",
    "s3api": f"location = {REGION}",
    "tempauth": "user_{account}_{user} = {secret} .admin",
    "copy": "",
    "slo": "",
    "dlo": "",
}


class Silence:
    def write(self, *_):
        pass

    def flush(self):
        pass


def listener():
    sock = eventlet.listen(("127.0.0.1", 0), backlog=256)
    return sock, sock.getsockname()[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def default_section(base, port):
    return (f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nswift_dir = {base}/etc\ndevices = {base}/disks\n"
            "mount_check = false\nfallocate_reserve = 0\nlog_level = ERROR\n")


def write_ring(base, kind, port):
    from swift.common.ring import RingBuilder
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    builder.add_dev(dict(id=0, region=1, zone=1, weight=1.0, ip="127.0.0.1", port=port, device="disk",
                         replication_ip="127.0.0.1", replication_port=port, meta=""))
    builder.rebalance()
    builder.get_ring().save(f"{base}/etc/{kind}.ring.gz")


def write_proxy_conf(base, port, values):
    text = default_section(base, port)
    text += f"[pipeline:main]\npipeline = {' '.join(FILTERS)} proxy-server\n"
    text += "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n"
    for name, options in FILTERS.items():
        egg = "memcache" if name == "cache" else name
        text += f"[filter:{name}]\nuse = egg:swift#{egg}\n{options.format(**values)}\n"
    write(f"{base}/etc/proxy-server.conf", text)


def serve(base, kind, sock):
    from swift.common.wsgi import loadapp
    app = loadapp(f"{base}/etc/{kind}-server.conf", global_conf={"log_requests": "false"})
    eventlet.spawn(eventlet.wsgi.server, sock, app, log=Silence(), log_output=False, debug=False, max_size=256)


def make_bucket(port, key_id, secret, bucket):
    """By Swift's own interface, so that no signature of ours is needed."""
    from eventlet.green.urllib import request
    where = f"http://127.0.0.1:{port}"
    answer = request.urlopen(request.Request(where + "/auth/v1.0",
                                             headers={"X-Auth-User": key_id, "X-Auth-Key": secret}))
    token = {"X-Auth-Token": answer.headers["X-Auth-Token"]}
    url = answer.headers["X-Storage-Url"]
    request.urlopen(request.Request(f"{url}/{bucket}", method="PUT", headers=token))


def main():
    base, key_id, secret, bucket = os.path.abspath(sys.argv[1]), *sys.argv[2:5]
    account, user = key_id.split(":")
    os.makedirs(base + "/etc", exist_ok=True)
    os.makedirs(base + "/disks/disk", exist_ok=True)
    write(base + "/etc/swift.conf",
          "[swift-hash]\nswift_hash_path_suffix = loopback\nswift_hash_path_prefix = loopback\n")
    utils.set_swift_dir(base + "/etc")

    memcached = free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(memcached), "-m", "16", "-U", "0"]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    cache = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    # SystemExit, so that the cache server is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for kind in STORAGE:
            sock, port = listener()
            write_ring(base, kind, port)
            write(f"{base}/etc/{kind}-server.conf", default_section(base, port) +
                  f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n")
            serve(base, kind, sock)
        sock, port = listener()
        write_proxy_conf(base, port, dict(memcached=memcached, account=account, user=user, secret=secret))
        serve(base, "proxy", sock)
        eventlet.sleep(0)
        make_bucket(port, key_id, secret, bucket)
        print(f"http://127.0.0.1:{port}", flush=True)
        from eventlet.green import os as green_os
        eventlet.hubs.trampoline(sys.stdin.fileno(), read=True)
        green_os.read(sys.stdin.fileno(), 1)
    finally:
        cache.terminate()
        cache.wait()


main()
