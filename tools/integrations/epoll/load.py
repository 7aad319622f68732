# SPDX-License-Identifier: GPL-2.0-only
"""A server under load: load.py PORT NAME: threads with connections that stay and ones that do not."""
import http.client
import sys
import threading
import time

PORT, NAME = int(sys.argv[1]), sys.argv[2]
THREADS, ROUNDS = 8, 40
bad = []


def get(connection, path):
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 or len(body) != (200_000 if path == "/large" else 6):
        bad.append((path, response.status, len(body)))


def client():
    try:
        staying = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
        for n in range(ROUNDS):
            get(staying, "/large" if n % 8 == 0 else "/small")
            once = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
            get(once, "/small")
            once.close()
    except Exception as error:
        bad.append(error)


for _ in range(300):
    try:
        get(http.client.HTTPConnection("127.0.0.1", PORT, timeout=120), "/small")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
threads = [threading.Thread(target=client) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{THREADS * ROUNDS * 2} requests, {len(bad)} bad {bad[:3]}")
print("not ok" if bad else "ok", NAME)
