"""Answers on port 8000, and through TLS on port 8443."""

import http.server
import itertools
import os
import pathlib
import signal
import socket
import ssl
import sys
import threading

SITE = pathlib.Path("/srv/site")
HTML = "text/html; charset=utf-8"
INDEX = """<a href="/about">about</a> <a href=static>static</a> <a href="https://elsewhere.example/x">out</a>
<img src="/gone.png"> <a href="/moved">moved</a>"""
OPENAPI = """{"openapi": "3.0.0", "paths": {"/item/{id}": {"get": {"parameters": [
{"name": "id", "in": "path", "required": true, "schema": {"example": 7}}]}}, "/secret/{key}": {"get": {"parameters": [
{"name": "key", "in": "path", "required": true}]}}, "/new": {"post": {}}}}"""
flaky = itertools.count(1)


def start_number():
    """How often a container with this state has started."""
    file = pathlib.Path("/state/starts")
    number = int(file.read_text()) + 1 if file.exists() else 1
    if file.parent.exists():
        file.write_text(str(number))
    return number


START = start_number()


def answer(path, host):
    """Status, headers and body of a path, asked of this host."""
    if path == "/":
        return 200, {"Content-Type": HTML}, INDEX
    if path == "/about":
        return 200, {"Content-Type": HTML}, '<a href="/deep">' + (SITE / "about.txt").read_text()
    if path == "/static":
        return 200, {}, path
    if path == "/deep":
        # Another one in every container.
        return 200, {}, f"http://{host}/ on {socket.gethostname()}"
    if path == "/moved":
        return 302, {"Location": "http://moved.example:81/"}, ""
    if path == "/flaky":
        return (500, {}, "") if next(flaky) % 2 else (200, {}, "good")
    if path == "/sometimes":
        return (500, {}, "") if START % 2 else (200, {}, "good")
    if path == "/openapi.json":
        return 200, {"Content-Type": "application/json"}, OPENAPI
    if path == "/item/7":
        return 200, {}, (SITE / "item.txt").read_text()
    return 404, {}, "absent"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, headers, body = answer(self.path, self.headers.get("Host"))
        except OSError as error:
            print(f"[error] {self.path}: {error}", file=sys.stderr, flush=True)
            status, headers, body = 500, {}, "broken"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.send_response(200 if self.headers.get("X-Key") == "k" else 403)
        self.end_headers()
        self.wfile.write(f"{self.path} {body}".encode())

    def log_message(self, *_):
        pass


def stop(*_):
    (SITE / "stop.txt").read_text()
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    started = pathlib.Path("/tmp/started")
    if started.exists():
        (SITE / "second.txt").read_text()
    started.write_text("")
    encrypted = http.server.ThreadingHTTPServer(("", 8443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SITE / "certificate.pem", SITE / "key.pem")
    encrypted.socket = context.wrap_socket(encrypted.socket, server_side=True)
    threading.Thread(target=encrypted.serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
