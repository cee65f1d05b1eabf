"""Clients of the VIP, all in one namespace: requests of every kind, until a line on standard input says it is enough.

A failed request is written to standard output as JSON with when it began and when it failed, in seconds of the machine's monotonic
clock; whether a backend was killed meanwhile is for the reader to say. At the end comes one line with the counts.
"""

import hashlib
import json
import random
import socket
import sys
import threading
import time

VIP, WEB, ECHO = "10.0.0.10", 8080, 5353
PATIENCE = 20
BIG = hashlib.sha256(bytes(range(256)) * 2048).hexdigest()

enough = threading.Event()
lock = threading.Lock()
made = {"short": 0, "kept": 0, "download": 0, "question": 0}


class Wrong(Exception):
    """An answer that is not what was asked for."""


def connect():
    return socket.create_connection((VIP, WEB), PATIENCE)


def ask(connection, path, close):
    """One request, and the body of its answer."""
    end = "close" if close else "keep-alive"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {end}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            raise Wrong(f"closed after {len(head)} bytes")
        head += piece
    head, body = head.split(b"\r\n\r\n", 1)
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise Wrong(head[:40].decode(errors="replace"))
    length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[15:])
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            raise Wrong(f"closed after {len(body)} of {length} bytes")
        body += piece
    return body


def short(rng):
    with connect() as connection:
        ask(connection, "/", True)


def kept(rng):
    """Many requests on one connection, with pauses."""
    with connect() as connection:
        for _ in range(rng.randrange(2, 20)):
            ask(connection, "/", False)
            if enough.wait(rng.random() / 2):
                return


def download(rng):
    with connect() as connection:
        if hashlib.sha256(ask(connection, "/big", True)).hexdigest() != BIG:
            raise Wrong("other bytes than the server's")


def question(rng):
    """A datagram may get lost: it is asked three times."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.connect((VIP, ECHO))
        # Some are so long that they come in pieces.
        said = rng.randbytes(rng.choice([20, 500, 4000]))
        for _ in range(3):
            asker.send(said)
            try:
                if asker.recv(65536) == said:
                    return
            except TimeoutError:
                pass
        raise Wrong("three questions without an answer")


def run(kind, seed):
    rng = random.Random(seed)
    while not enough.is_set():
        begun = time.monotonic()
        try:
            kind(rng)
        except (OSError, Wrong) as error:
            failure = {"kind": kind.__name__, "begun": begun, "failed": time.monotonic(), "why": repr(error)}
            with lock:
                print(json.dumps(failure), flush=True)
            time.sleep(0.1)
        with lock:
            made[kind.__name__] += 1
        enough.wait(rng.random() / 50)


def main():
    seed = int(sys.argv[1])
    kinds = [short] * 6 + [kept] * 6 + [download] * 2 + [question] * 2
    threads = [threading.Thread(target=run, args=(kind, seed + number)) for number, kind in enumerate(kinds)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    enough.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"made": made}), flush=True)


main()
