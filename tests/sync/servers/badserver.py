#!/usr/bin/python3
"""A WebDAV and S3 server in memory that misbehaves as its URL says: http://HOST:PORT/MODE/anything

badserver.py [PEM]
    Prints its HOST:PORT on one line, serves until its standard input ends. With PEM, a file with certificate and key,
    it speaks TLS.

Every MODE has objects of its own. A GET of /MODE?counts gives "METHOD=N ..." of the requests so far, one of
/MODE?objects the number of objects. Modes are the methods of class Modes; "good" does nothing wrong. S3 modes expect
/MODE/bucket/key and do not check signatures.
"""
import collections
import http.server
import re
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

LOGIN_PAGE = b"<html><body>Welcome to the hotel! Please log in.</body></html>"


class Place:
    """The objects and counters of one mode."""

    def __init__(self):
        self.objects = {}
        self.collections = {""}
        self.counts = collections.Counter()
        self.lock = threading.Lock()
        self.seen = set()

    def first_time(self, key):
        with self.lock:
            if key in self.seen:
                return False
            self.seen.add(key)
            return True


PLACES = collections.defaultdict(Place)


def href(text):
    return f"<D:response><D:href>{text}</D:href>"


def response(path, size=None):
    kind = "<D:resourcetype/>" if size is not None else "<D:resourcetype><D:collection/></D:resourcetype>"
    length = f"<D:getcontentlength>{size}</D:getcontentlength>" if size is not None else ""
    return (href(path) + f"<D:propstat><D:prop>{kind}{length}</D:prop><D:status>HTTP/1.1 200 OK</D:status>"
            "</D:propstat></D:response>")


def multistatus(body):
    return ('<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">' + body + "</D:multistatus>").encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # --- what all modes use

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self, reset=False):
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)

    def body(self):
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        if len(data) != length:
            raise ConnectionError("the request was cut off")
        return data

    def wanted_range(self):
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            return None
        return int(match[1]), int(match[2]) if match[2] else None

    # --- a server that does nothing wrong

    def parent_missing(self):
        return self.key.rpartition("/")[0] not in self.place.collections

    def good_put(self):
        data = self.body()
        if self.parent_missing():
            return self.answer(409)
        self.place.objects[self.key] = data
        return self.answer(201, ETag='"x"')

    def good_get(self):
        data = self.place.objects.get(self.key)
        if data is None:
            return self.answer(404)
        part = self.wanted_range()
        if part is None or self.command == "HEAD":
            return self.answer(200, data)
        if part[0] >= len(data):
            return self.answer(416)
        end = len(data) if part[1] is None else min(part[1] + 1, len(data))
        return self.answer(206, data[part[0]:end], Content_Range=f"bytes {part[0]}-{end - 1}/{len(data)}")

    def good_delete(self):
        key = self.key.rstrip("/")
        found = self.place.objects.pop(key, None) is not None
        if key in self.place.collections and key:
            found = True
            self.place.collections = {c for c in self.place.collections if not (c + "/").startswith(key + "/")}
            self.place.objects = {k: v for k, v in self.place.objects.items() if not k.startswith(key + "/")}
        return self.answer(204 if found else 404)

    def good_mkcol(self):
        key = self.key.rstrip("/")
        if key in self.place.collections:
            return self.answer(405)
        if key.rpartition("/")[0] not in self.place.collections:
            return self.answer(409)
        self.place.collections.add(key)
        return self.answer(201)

    def members(self, prefix):
        found = []
        for name in sorted(self.place.collections):
            if name and name.rpartition("/")[0] == prefix.rstrip("/"):
                found.append((name.rpartition("/")[2], None))
        for name, data in sorted(self.place.objects.items()):
            if name.rpartition("/")[0] == prefix.rstrip("/"):
                found.append((name.rpartition("/")[2], len(data)))
        return found

    def good_propfind(self):
        self.body()
        key = self.key.rstrip("/")
        if key not in self.place.collections:
            return self.answer(404)
        base = f"/{self.mode}/{key}".rstrip("/") + "/"
        body = response(base) + "".join(response(base + n + ("/" if size is None else ""), size)
                                        for n, size in self.members(key))
        return self.answer(207, multistatus(body), Content_Type="application/xml")

    def good(self):
        methods = {"PUT": self.good_put, "GET": self.good_get, "HEAD": self.good_get, "DELETE": self.good_delete,
                   "MKCOL": self.good_mkcol, "PROPFIND": self.good_propfind}
        methods[self.command]()

    def handle_any(self):
        path, _, query = self.path.partition("?")
        parts = urllib.parse.unquote(path).lstrip("/").split("/", 1)
        self.mode, self.key = parts[0], parts[1] if len(parts) > 1 else ""
        self.query = urllib.parse.parse_qs(query, keep_blank_values=True)
        self.place = PLACES[self.mode]
        if query == "counts":
            text = " ".join(f"{k}={v}" for k, v in sorted(self.place.counts.items()))
            return self.answer(200, text.encode())
        if query == "objects":
            return self.answer(200, str(len(self.place.objects)).encode())
        self.place.counts[self.command] += 1
        mode = getattr(Modes, self.mode.replace("-", "_"), None)
        return mode(self) if mode else self.good()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_MKCOL = do_PROPFIND = handle_any


class Modes:
    """Each takes the Handler of a request."""

    # --- what stands in between

    def portal(h):
        h.body()
        h.answer(200, LOGIN_PAGE, Content_Type="text/html")

    def redirect(h):
        h.body()
        h.answer(302, Location="https://elsewhere.example.org/dav/")

    def noise(h):
        h.connection.sendall(b"SSH-2.0-OpenSSH\r\n")
        h.hang_up()

    # --- refusals

    def full507(h):
        if h.command != "PUT":
            return h.good()
        h.body()
        return h.answer(507)

    def full413(h):
        if h.command != "PUT":
            return h.good()
        h.answer(413, Connection="close")
        return h.hang_up()

    def forbidden(h):
        h.body()
        h.answer(403)

    def readonly(h):
        if h.command not in ("PUT", "MKCOL"):
            return h.good()
        h.body()
        return h.answer(409 if h.command == "PUT" else 403)

    # --- passing faults

    def busy(h):
        """Every second request is turned away."""
        with h.place.lock:
            h.place.turn = not getattr(h.place, "turn", False)
            turn = h.place.turn
        if not turn:
            return h.good()
        h.body()
        return h.answer(503, Retry_After="0")

    def busy_long(h):
        h.body()
        h.answer(503, Retry_After="3600")

    def error500(h):
        h.body()
        h.answer(500)

    # --- puts whose outcome is unclear

    def half(h):
        """The first put of each name ends in the middle and leaves half an object."""
        if h.command == "PUT" and h.place.first_time(h.key):
            length = int(h.headers["Content-Length"])
            h.place.objects[h.key] = h.rfile.read(length // 2)
            return h.hang_up(reset=True)
        return Modes.no_parents(h)

    def lost(h):
        """The first put of each name is done but not answered."""
        if h.command == "PUT" and h.place.first_time(h.key):
            h.place.objects[h.key] = h.body()
            return h.hang_up()
        return Modes.no_parents(h)

    def lost502(h):
        if h.command == "PUT" and h.place.first_time(h.key):
            h.place.objects[h.key] = h.body()
            return h.answer(502)
        return Modes.no_parents(h)

    def changed(h):
        """The first put of each name is stored with a byte changed, and answered by an error."""
        if h.command == "PUT" and h.place.first_time(h.key):
            data = bytearray(h.body())
            data[len(data) // 2] ^= 1
            h.place.objects[h.key] = bytes(data)
            return h.answer(504)
        return Modes.no_parents(h)

    # --- collections

    def no_parents(h):
        """Needs no collections."""
        h.place.collections.add(h.key.rpartition("/")[0])
        for i, c in enumerate(h.key):
            if c == "/":
                h.place.collections.add(h.key[:i])
        return h.good()

    def missing404(h):
        if h.command != "PUT" or not h.parent_missing():
            return h.good()
        h.body()
        return h.answer(404)

    def missing500(h):
        if h.command != "PUT" or not h.parent_missing():
            return h.good()
        h.body()
        return h.answer(500)

    # --- gets

    def ignores_range(h):
        if "Range" in h.headers:
            del h.headers["Range"]
        return h.good()

    def wrong_range(h):
        if h.command != "GET":
            return h.good()
        data = h.place.objects[h.key]
        first = h.wanted_range()[0] + 1
        return h.answer(206, data[first:first + 3000], Content_Range=f"bytes {first}-{first + 2999}/{len(data)}")

    def short_range(h):
        if h.command != "GET":
            return h.good()
        data = h.place.objects[h.key]
        first = h.wanted_range()[0]
        return h.answer(206, data[first:first + 10], Content_Range=f"bytes {first}-{first + 9}/{len(data)}")

    def no_range_header(h):
        if h.command != "GET" or "Range" not in h.headers:
            return h.good()
        first, last = h.wanted_range()
        return h.answer(206, h.place.objects[h.key][first:last + 1])

    def too_much(h):
        if h.command != "GET" or "Range" not in h.headers:
            return h.good()
        first, last = h.wanted_range()
        data = h.place.objects[h.key]
        return h.answer(206, data[first:last + 100], Content_Range=f"bytes {first}-{last}/{len(data)}")

    def wrong_length(h):
        """Promises more than it sends."""
        if h.command != "GET":
            return h.good()
        data = h.place.objects[h.key]
        h.answer(200, data[:100], length=len(data))
        return h.hang_up()

    def endless(h):
        if h.command != "GET":
            return h.good()
        h.send_response(200)
        h.end_headers()
        h.close_connection = True
        try:
            while True:
                h.wfile.write(b"x" * 65536)
        except OSError:
            return None

    def endless_headers(h):
        if h.command != "GET":
            return h.good()
        h.close_connection = True
        try:
            h.connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                h.connection.sendall(b"X-Filler: " + b"y" * 60000 + b"\r\n")
        except OSError:
            return None

    def silent(h):
        if h.command != "GET":
            return h.good()
        h.rfile.read(1)  # until the client gives up
        return h.hang_up()

    def drip(h):
        """A byte every now and then: never silent, never done."""
        if h.command != "GET":
            return h.good()
        h.send_response(200)
        h.send_header("Content-Length", str(len(h.place.objects[h.key])))
        h.end_headers()
        try:
            while True:
                h.wfile.write(b"x")
                time.sleep(0.2)
        except OSError:
            h.close_connection = True

    def no_head_length(h):
        if h.command != "HEAD":
            return h.good()
        h.send_response(200 if h.key in h.place.objects else 404)
        return h.end_headers()

    def stray(h):
        """Sends on a kept connection what nobody asked for, as Swift does."""
        h.good()
        h.wfile.write(b"0\r\n\r\n")

    # --- listings

    def listing(h, body, kind="application/xml"):
        if h.command != "PROPFIND":
            return Modes.no_parents(h)
        h.body()
        return h.answer(207, body, Content_Type=kind)

    def foreign_names(h):
        base = f"/{h.mode}/packs/"
        far = f"http://user@elsewhere.example.org:99/{h.mode}/packs/"
        body = response(base + "%7eold", 1) + response(base) + response(base + "ok-1", 5)
        body += response(far + "ok-2", 6) + response(base + "a%2fb", 1) + response(base + "..", 1)
        body += response(base + "%00", 1) + response(base + "UPPER", 1) + response("/other/packs/x", 1)
        body += response(base + "deep/er", 1) + response(base + ".hidden", 1) + response("", 1) + response("%", 1)
        body += response(base + "n" * 300, 1)
        return Modes.listing(h, multistatus(body))

    def moved_names(h):
        """Behind a proxy that rewrites paths: the listing speaks of other ones."""
        base = "/inner/store/packs/"
        return Modes.listing(h, multistatus(response(base) + response(base + "a", 1) + response(base + "b", 2)))

    def no_sizes(h):
        if h.command != "PROPFIND":
            return Modes.no_parents(h)
        h.body()
        base = f"/{h.mode}/packs/"
        entry = href(base + "gone") + "</D:response>" + href(base + "there") + "</D:response>"
        h.place.objects["packs/there"] = b"12345"
        return h.answer(207, multistatus(response(base) + entry))

    def endless_depth(h):
        """Every collection holds another one."""
        return Modes.listing(h, multistatus(response(f"/{h.mode}/{h.key}") + response(f"/{h.mode}/{h.key}sub/")))

    def endless_breadth(h):
        """Every collection holds a hundred others."""
        base = f"/{h.mode}/{h.key}"
        return Modes.listing(h, multistatus(response(base) + "".join(response(f"{base}{i}/") for i in range(100))))

    def photos(h):
        base = f"/{h.mode}/"
        return Modes.listing(h, multistatus(response(base) + response(base + "Photos/")))

    def clutter(h):
        base = f"/{h.mode}/"
        return Modes.listing(h, multistatus(response(base) + response(base + ".DS_Store", 1) + response(base + ".stfolder/")
                                            + response(base + "System%20Volume%20Information/")))

    def not_xml(h):
        return Modes.listing(h, b"nothing of the kind")

    def cut_xml(h):
        return Modes.listing(h, multistatus(response(f"/{h.mode}/packs/"))[:-5])

    def bomb(h):
        text = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
        for a, b in zip(b"abcdefgh", b"bcdefghi"):
            text += b'<!ENTITY %c "' % b + b"&%c;" % a * 10 + b'">'
        return Modes.listing(h, text + b']><D:multistatus xmlns:D="DAV:">&i;</D:multistatus>')

    def deep(h):
        return Modes.listing(h, multistatus("<a>" * 100000))

    def endless_list(h):
        if h.command != "PROPFIND":
            return Modes.no_parents(h)
        h.body()
        h.send_response(207)
        h.end_headers()
        h.close_connection = True
        try:
            h.wfile.write(multistatus("")[:-len("</D:multistatus>")] + response("/x/packs/").encode())
            while True:
                h.wfile.write(response("/x/packs/" + "n" * 60, 1).encode() * 1000)
        except OSError:
            return None

    # --- S3

    def s3_error(h, status, code, extra=""):
        h.body()
        h.answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code>{extra}</Error>".encode(),
                 Content_Type="application/xml")

    def s3_region(h):
        Modes.s3_error(h, 400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>")

    def s3_clock(h):
        Modes.s3_error(h, 403, "RequestTimeTooSkewed")

    def s3_quota(h):
        Modes.s3_error(h, 403, "QuotaExceeded")

    def s3_slow(h):
        Modes.s3_error(h, 503, "SlowDown")

    def s3_no_etag(h):
        """A page for everything, said to be fine."""
        h.body()
        h.answer(200, LOGIN_PAGE)

    def s3_loop(h):
        """A listing whose next page is always the same one."""
        h.answer(200, b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>again"
                      b"</NextContinuationToken></ListBucketResult>")

    def s3_no_token(h):
        h.answer(200, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")

    def s3_page(h, keys, token=""):
        body = "".join(f"<Contents><Key>{k}</Key><Size>1</Size></Contents>" for k in keys)
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        h.answer(200, f"<ListBucketResult>{more}{body}</ListBucketResult>".encode(), Content_Type="application/xml")

    def next_token(h):
        return str(int(h.query.get("continuation-token", ["0"])[0]) + 1)

    def s3_endless(h):
        """One new key a page, and always another page."""
        token = Modes.next_token(h)
        Modes.s3_page(h, [f"packs/ab/{token}"], token)

    def s3_empty_pages(h):
        Modes.s3_page(h, [], Modes.next_token(h))

    def s3_photos(h):
        Modes.s3_page(h, ["Photos/", "Photos/IMG%201.JPG", "packs/", ".DS_Store"])

    def s3_clutter(h):
        Modes.s3_page(h, ["packs/", "packs/.DS_Store", ".stfolder/", "._x"])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


def main():
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("127.0.0.1:%d" % server.server_address[1], flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
