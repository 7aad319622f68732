# SPDX-License-Identifier: GPL-2.0-only
"""A server under load: load.py http|redis|memcached PORT NAME: threads with connections that stay and ones that do not."""
import http.client
import socket
import sys
import threading
import time

KIND, PORT, NAME = sys.argv[1], int(sys.argv[2]), sys.argv[3]
THREADS, ROUNDS, LARGE = 8, 40, 200_000
bad = []


class Http:
    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)

    def small(self, path="/small", size=6):
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        if (response.status, len(response.read())) != (200, size):
            bad.append((path, response.status))

    def large(self):
        self.small("/large", LARGE)

    def close(self):
        self.connection.close()


class Store:
    """Requests and replies as bytes; what is stored is read again."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), timeout=120)
        self.key = b"%d-%d" % (threading.get_ident(), self.socket.fileno())

    def ask(self, request, reply):
        self.socket.sendall(request)
        got = b""
        while len(got) < len(reply):
            piece = self.socket.recv(1 << 16)
            if not piece:
                break
            got += piece
        if got != reply:
            bad.append((request[:40], got[:40]))

    def small(self):
        self.keep(b"small")

    def large(self):
        self.keep(b"x" * LARGE)

    def close(self):
        self.socket.close()


class Redis(Store):
    def keep(self, value):
        key, size = self.key, b"$%d\r\n" % len(value)
        self.ask(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n%s%s\r\n" % (len(key), key, size, value), b"+OK\r\n")
        # Several in one go.
        self.ask(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key) * 3, size.join([b""] + [value + b"\r\n"] * 3))


class Memcached(Store):
    def keep(self, value):
        self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (self.key, len(value), value), b"STORED\r\n")
        self.ask(b"get %s\r\n" % self.key, b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (self.key, len(value), value))


Client = {"http": Http, "redis": Redis, "memcached": Memcached}[KIND]


def client():
    try:
        staying = Client()
        for n in range(ROUNDS):
            staying.large() if n % 8 == 0 else staying.small()
            once = Client()
            once.small()
            once.close()
    except Exception as error:
        bad.append(error)


for _ in range(600):
    try:
        socket.create_connection(("127.0.0.1", PORT)).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
threads = [threading.Thread(target=client) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{THREADS * ROUNDS * 2} rounds, {len(bad)} bad {bad[:3]}")
print("not ok" if bad else "ok", NAME)
