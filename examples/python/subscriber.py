"""Prints the p99 of every operation in WEIR_LATENCY: of the last 24 hours, then as it happens.

Needs Python and python3-msgpack. NATS is lines of text over a socket, so no client library is needed.
"""
import json
import socket
import sys
import uuid
from urllib.parse import urlsplit

import msgpack


def messages(address, stream, subjects):
    """Payloads of a stream, from its first message on, through a push consumer that ends with the connection."""
    url = urlsplit(address)
    conn = socket.create_connection((url.hostname, url.port or 4222))
    lines = conn.makefile("rb")
    inbox = f"_INBOX.{uuid.uuid4().hex}"
    request = json.dumps({"stream_name": stream, "config": {
        "deliver_subject": inbox, "filter_subject": subjects, "ack_policy": "none"}})
    lines.readline()  # INFO
    conn.sendall(f'CONNECT {{"verbose":false,"headers":true}}\r\nSUB {inbox} messages\r\nSUB {inbox}.created created\r\n'
                 f"PUB $JS.API.CONSUMER.CREATE.{stream} {inbox}.created {len(request)}\r\n{request}\r\n".encode())
    while line := lines.readline():
        verb, *args = line.split()
        if verb == b"PING":
            conn.sendall(b"PONG\r\n")
        elif verb in (b"MSG", b"HMSG"):  # MSG subject sid [reply] size; HMSG … header-size size
            header = int(args[-2]) if verb == b"HMSG" else 0
            payload = lines.read(int(args[-1]) + 2)[header:-2]
            if args[1] == b"messages":
                yield payload
            elif "error" in (answer := json.loads(payload)):
                raise SystemExit(answer["error"]["description"])
        elif verb == b"-ERR":
            raise SystemExit(line.decode())


def quantile(point, q):
    """In seconds. Bucket i of a histogram of scale s covers (b^i, b^(i+1)], b = 2^(2^-s)."""
    base = 2 ** 2 ** -point["scale"]
    rank = q * point["count"] - point["zero_count"]
    for i, count in enumerate(point["buckets"], point["offset"]):
        rank -= count
        if rank <= 0:
            return 2 * base ** (i + 1) / (1 + base)  # where the error is least
    return 0


for payload in messages(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222", "WEIR_LATENCY", "weir.latency.>"):
    m = msgpack.unpackb(payload)
    for p in m["points"]:
        route = p["attrs"].get("http.route", "")
        print(m["workload"], p["side"], route, p["count"], "requests, p99 ms:", quantile(p, 0.99) * 1e3, flush=True)
