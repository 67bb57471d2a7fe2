"""Prints a line for each change of an alert in WEIR_ALERTS, once, however often it is restarted.

Needs Python alone: NATS is lines of text over a socket, and alerts are JSON.
"""
import argparse
import json
import os
import socket
import sys
import uuid
from urllib.parse import urlsplit

STREAM = "WEIR_ALERTS"


class Consumer:
    """A durable pull consumer with explicit acknowledgements."""

    def __init__(self, address, name, subjects):
        url = urlsplit(address)
        self.conn = socket.create_connection((url.hostname, url.port or 4222))
        self.lines = self.conn.makefile("rb")
        self.inbox = f"_INBOX.{uuid.uuid4().hex}"
        self.lines.readline()  # INFO
        self.send(f'CONNECT {{"verbose":false,"pedantic":false,"headers":true}}\r\nSUB {self.inbox} answers\r\n')
        self.publish(f"$JS.API.CONSUMER.CREATE.{STREAM}.{name}.{subjects}", json.dumps({"stream_name": STREAM, "config": {
            "durable_name": name, "filter_subject": subjects, "ack_policy": "explicit",
            "ack_wait": 2 * 10**9,  # how long the next life waits for what this one had
            "max_ack_pending": 1,  # in order: so there is one change at most that may come again
        }}), self.inbox)
        _, _, answer = self.receive()
        if "error" in (answer := json.loads(answer)):
            raise SystemExit(answer["error"]["description"])
        self.next = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name}"

    def send(self, text):
        self.conn.sendall(text.encode())

    def publish(self, subject, data, reply=""):
        self.send(f"PUB {subject} {reply} {len(data)}\r\n{data}\r\n")

    def receive(self):
        """What to acknowledge, headers, payload."""
        while line := self.lines.readline():
            verb, *args = line.split()
            if verb == b"PING":
                self.send("PONG\r\n")
            elif verb in (b"MSG", b"HMSG"):  # MSG subject sid [reply] size; HMSG … header-size size
                head = int(args[-2]) if verb == b"HMSG" else 0
                payload = self.lines.read(int(args[-1]) + 2)[:-2]
                headers = [line.partition(":") for line in payload[:head].decode(errors="replace").split("\r\n")[1:]]
                reply = args[2].decode() if len(args) > (4 if head else 3) else ""
                return reply, {key: value.strip() for key, _, value in headers}, payload[head:]
            elif verb == b"-ERR":
                raise SystemExit(line.decode())
        raise SystemExit("NATS has closed the connection")

    def messages(self):
        while True:
            self.publish(self.next, '{"batch":1,"expires":30000000000}', self.inbox)
            reply, headers, payload = self.receive()
            if reply:  # else nothing came within 30 s
                yield headers, payload
                self.publish(reply, "+ACK")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--severity", default="*", help="only alerts of this one")
parser.add_argument("--server", default="nats://127.0.0.1:4222", help="address of NATS")
parser.add_argument("--name", default="printer", help="of the consumer: programs with one name share the changes")
parser.add_argument("--file", default="weir-alerts.last", help="where the id of the last change is kept")
args = parser.parse_args()

last = ""
if os.path.exists(args.file):
    with open(args.file) as f:
        last = f.read()
for headers, payload in Consumer(args.server, args.name, f"weir.alert.{args.severity}.*").messages():
    # Printed, remembered, acknowledged, in this order. If the program is killed
    #   before it has printed, the change comes again;
    #   after it has remembered, the change comes again too, is known, and isn't printed;
    #   in the moment between, it is printed twice. Only a program whose output and memory are one
    #   thing has no such moment: a transaction, or an incident whose key is the id.
    if headers.get("Nats-Expected-Stream") != STREAM:  # somebody else has put it there
        continue
    if headers["ce-id"] != last:
        alert = json.loads(payload)
        line = (headers["ce-time"], alert["status"], headers["ce-subject"], json.dumps(alert["labels"], ensure_ascii=False),
                json.dumps(alert.get("annotations", {}).get("summary", ""), ensure_ascii=False))
        if not alert.get("silenced"):  # it comes again when the silence ends, if it fires still
            sys.stdout.write(" ".join(line) + "\n")  # at once: a line is there or it isn't
            sys.stdout.flush()
        last = headers["ce-id"]
        with open(args.file + ".new", "w") as f:
            f.write(last)
        os.replace(args.file + ".new", args.file)  # all of it or none
