"""The test server on http.server. See doc.go for the paths."""
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment, or Nagle waits for an ack
    disable_nagle_algorithm = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def handle_expect_100(self):
        ok = super().handle_expect_100()
        self.wfile.flush()
        return ok

    def answer(self):
        match = re.fullmatch(r"/[^/]+/(\w+)(?:/(\d+))?", self.path)
        what, n = (match[1], int(match[2] or 0)) if match else ("", 0)
        if what == "bytes":
            self.reply(200, b"w" * n)
        elif what == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for left in range(n, 0, -65536):
                piece = b"w" * min(left, 65536)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif what == "status":
            self.reply(n)
        elif what == "sleep":
            time.sleep(n / 1000)
            self.reply(200, b"slept")
        elif what == "upload":
            self.reply(200, str(self.read_body()).encode())
        else:
            self.reply(404)

    do_GET = do_HEAD = do_POST = answer

    def reply(self, status, body=b""):
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        size = 0
        while True:
            n = int(self.rfile.readline(), 16)
            self.rfile.read(n + 2)
            if n == 0:
                return size
            size += n

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 4096
    daemon_threads = True


class Server6(Server):
    address_family = socket.AF_INET6


port = int(sys.argv[1])
threading.Thread(target=Server6(("::1", port), Handler).serve_forever, daemon=True).start()
Server(("127.0.0.1", port), Handler).serve_forever()
