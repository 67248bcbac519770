#!/usr/bin/python3
"""A TCP proxy on loopback that makes a network as bad as the test wants it.

proxy.py HOST:PORT [--delay MS] [--rate BYTES_PER_S]
    Prints its own HOST:PORT on one line. Then obeys lines on standard input, each answered by one line:
      delay MS            each way
      rate BYTES_PER_S    each way, each connection; 0: no limit
      cut N up|down [C]   ends a connection in both directions after N bytes that way; the next C connections (all)
      reset N up|down [C] the same with a RST
      drop [C]            takes connections and never answers
      refuse [C]          closes connections at once
      clear               takes back cut, reset, drop, refuse
      close               ends the connections that are open
      stats               "accepted=N open=N most=N up=BYTES down=BYTES"; most: open at once
    Ends with its standard input.
"""
import argparse
import asyncio
import socket
import struct
import sys

CHUNK = 16384


class Fault:
    def __init__(self, kind, after=0, way="up", count=None):
        self.kind, self.after, self.way, self.count = kind, after, way, count


class Proxy:
    def __init__(self, host, port, delay_ms, rate):
        self.host, self.port = host, port
        self.delay, self.rate = delay_ms / 1000, rate
        self.fault = None
        self.accepted = self.open = self.most = 0
        self.bytes = {"up": 0, "down": 0}
        self.writers = set()

    def take_fault(self):
        fault = self.fault
        if fault and fault.count is not None:
            fault.count -= 1
            if fault.count <= 0:
                self.fault = None
        return fault

    @staticmethod
    def end(writers, reset):
        for writer in writers:
            sock = writer.get_extra_info("socket")
            if reset and sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if reset:
                writer.transport.abort()
            else:
                writer.close()

    async def deliver(self, queue, writer):
        """Writes each piece when it is due, so that a delay does not limit the rate."""
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
            if data is None:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def pump(self, way, reader, writer, fault, both):
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue(1024)
        delivery = asyncio.create_task(self.deliver(queue, writer))
        left = fault.after if fault and fault.kind in ("cut", "reset") and fault.way == way else None
        free_at = loop.time()
        try:
            while True:
                data = await reader.read(CHUNK)
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                self.bytes[way] += len(data)
                if self.rate:
                    free_at = max(free_at, loop.time()) + len(data) / self.rate
                    await asyncio.sleep(max(0, free_at - loop.time()))
                await queue.put((loop.time() + self.delay, data or None))
                if left == 0:
                    await asyncio.sleep(self.delay + 0.01)
                    self.end(both, fault.kind == "reset")
                    return
                if not data:
                    await delivery
                    return
        finally:
            delivery.cancel()

    async def connection(self, reader, writer):
        self.accepted += 1
        self.open += 1
        self.most = max(self.most, self.open)
        both = [writer]
        self.writers.add(writer)
        fault = self.take_fault()
        try:
            if fault and fault.kind == "refuse":
                return
            if fault and fault.kind == "drop":
                while await reader.read(CHUNK):
                    pass
                return
            up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
            both.append(up_writer)
            await asyncio.gather(self.pump("up", reader, up_writer, fault, both),
                                 self.pump("down", up_reader, writer, fault, both))
        except OSError:
            pass
        finally:
            self.open -= 1
            self.writers.discard(writer)
            self.end(both, False)

    def command(self, line):
        word, *args = line.split()
        if word == "delay":
            self.delay = float(args[0]) / 1000
        elif word == "rate":
            self.rate = int(args[0])
        elif word in ("cut", "reset"):
            self.fault = Fault(word, int(args[0]), args[1], int(args[2]) if len(args) > 2 else None)
        elif word in ("drop", "refuse"):
            self.fault = Fault(word, count=int(args[0]) if args else None)
        elif word == "clear":
            self.fault = None
        elif word == "close":
            self.end(list(self.writers), False)
        elif word == "stats":
            return (f"accepted={self.accepted} open={self.open} most={self.most} up={self.bytes['up']} "
                    f"down={self.bytes['down']}")
        else:
            return "unknown command"
        return "ok"

    async def obey(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            if line.strip():
                print(self.command(line.decode()), flush=True)


async def run(args):
    host, port = args.target.rsplit(":", 1)
    proxy = Proxy(host, int(port), args.delay, args.rate)
    server = await asyncio.start_server(proxy.connection, "127.0.0.1", 0)
    print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await proxy.obey()


def main():
    parser = argparse.ArgumentParser(description="A TCP proxy that delays, limits and breaks connections.")
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("--delay", type=float, default=0, metavar="MS")
    parser.add_argument("--rate", type=int, default=0, metavar="BYTES_PER_S")
    asyncio.run(run(parser.parse_args()))


main()
