#!/usr/bin/env python3
"""A proxy that does to S3 requests what networks and servers do to them.

    fault_proxy.py HOST:PORT

passes everything on to the S3 server there, unchanged (also the Host header,
which is signed), but for requests that a rule matches.  It listens on two ports
of 127.0.0.1 and prints them on one line: "PORT CONTROL-PORT".  It ends when its
standard input does.

A control connection takes one JSON object per line and answers each with one:

  {"do": "rule", ...}    add a rule, see below
  {"do": "release"}      let everything that is stalled go on
  {"do": "clear"}        forget the rules, requests and connections, and release
  {"do": "state"}        {"stalled": COUNT, "connections": COUNT, "requests": [...]},
                         the last 20,000 requests, in order of arrival
  {"do": "seed", "seed": N}  for the rules that have a chance
  {"do": "counts"}       how often each action, or named rule, was applied

The members of a rule; the first rule that matches a request is applied:

  method, target         regular expressions (default: any); the target is path
                         and query as they are on the wire
  skip, times            pass over so many matches, apply to so many (0: all)
  chance                 apply to a match with this probability (default: 1)
  name                   what "counts" and "requests" call it
  action                 what to do
    reply                answer with status, headers and body (that often:
                         "repeat"); with "forward" the server gets the request
                         all the same
    stall                stop until released, "at" the "request" (the server has
                         not heard of it), the "upload" (after so many "bytes" of
                         the request's body) or the "body" (of the reply's)
    cut                  close after so many bytes of the reply's body
    reset                the same, with a TCP reset; without bytes: at once
    lose                 pass the request on, and close instead of answering
    alter                set the reply's "headers", and flip a bit of the byte
                         "flip" of the body, "at" the "upload" or of the reply's
    slow                 one byte per second, "at" the "upload" or the "reply",
                         after so many "bytes" of the body (none: all of the reply)
    raw                  answer with these bytes, whatever they are, and close
    delay                pass the request on after "ms" milliseconds
    throttle             the same, and the reply's body at "rate" bytes per second
"""

import collections
import json
import random
import re
import select
import socket
import socketserver
import struct
import sys
import threading
import time

CHUNK = 256 * 1024


class Gone(Exception):
    """One of the two sides has closed the connection."""


class State:
    def __init__(self, host, port):
        self.upstream = (host, port)
        self.lock = threading.Lock()
        self.random = random.Random(0)
        self.clear()

    def clear(self):
        with self.lock:
            self.rules = []
            self.requests = collections.deque(maxlen=20_000)
            self.counts = collections.Counter()
            self.connections = 0
        self.release()

    def release(self):
        with self.lock:
            before = getattr(self, "released", None)
            self.released = threading.Event()
            self.stalled = 0
        if before:
            before.set()

    def choose(self, request):
        """Note the request; return the rule for it, if any."""
        with self.lock:
            self.requests.append(request)
            for rule in self.rules:
                if not re.search(rule.get("method", ""), request["method"]) \
                        or not re.search(rule.get("target", ""),
                                         request["target"]):
                    continue
                if rule["skip"] > 0:
                    rule["skip"] -= 1
                    continue
                if self.random.random() >= rule.get("chance", 1):
                    continue
                if rule["times"] == 1:
                    self.rules.remove(rule)
                elif rule["times"] > 1:
                    rule["times"] -= 1
                request["action"] = rule.get("name", rule["action"])
                self.counts[request["action"]] += 1
                return rule
            self.counts["pass"] += 1
        return {"action": "pass"}

    def control(self, message):
        do = message.pop("do")
        if do == "rule":
            with self.lock:
                self.rules.append({"skip": 0, "times": 1, **message})
        elif do == "release":
            self.release()
        elif do == "clear":
            self.clear()
        elif do == "seed":
            self.random.seed(message["seed"])
        elif do == "counts":
            with self.lock:
                return dict(self.counts)
        elif do == "state":
            with self.lock:
                return {"stalled": self.stalled,
                        "connections": self.connections,
                        "requests": list(self.requests)}
        else:
            raise ValueError(f"unknown command {do}")
        return {}


class Side:
    """One of the two connections, with what was read ahead."""

    def __init__(self, connection):
        self.connection = connection
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def more(self):
        try:
            data = self.connection.recv(CHUNK)
        except OSError:
            raise Gone
        if not data:
            raise Gone
        self.buffer += data

    def head(self):
        """The next message's first line and headers, as they came."""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def some(self, most):
        if not self.buffer:
            self.more()
        data, self.buffer = self.buffer[:most], self.buffer[most:]
        return data

    def send(self, data):
        try:
            self.connection.sendall(data)
        except OSError:
            raise Gone

    def is_gone(self):
        """Has the other end closed, whatever it has said before?"""
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        return bool(poll.poll(0))

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack("ii", 1, 0))


def headers_of(head):
    headers = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode()] = value.strip().decode("latin-1")
    return headers


def altered(head, headers):
    """A reply's head with other headers."""
    names = [name.lower().encode() for name in headers]
    lines = [line for line in head.split(b"\r\n")
             if line.partition(b":")[0].strip().lower() not in names]
    return b"\r\n".join(lines + [f"{name}: {value}".encode("latin-1")
                                 for name, value in headers.items()])


def flipped(data, place):
    """The same bytes with another one at that place, if it is among them."""
    if not 0 <= place < len(data):
        return data
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]


class Client(socketserver.BaseRequestHandler):
    """One connection of a client, with its own one to the server."""

    def handle(self):
        self.state = self.server.state
        with self.state.lock:
            self.state.connections += 1
        self.client = Side(self.request)
        self.upstream = None
        try:
            while self.exchange():
                pass
        except Gone:
            pass
        finally:
            if self.upstream:
                self.upstream.connection.close()

    def exchange(self):
        """One request and its reply.  False: close the connection."""
        head = self.client.head()
        method, target = head.split(b"\r\n", 1)[0].decode().split(" ")[:2]
        headers = headers_of(head)
        scope = re.search(r"Credential=[^/]*/\d+/([^/]*)/",
                          headers.get("authorization", ""))
        rule = self.state.choose({
            "method": method, "target": target, "action": "pass",
            "range": headers.get("range"), "date": headers.get("x-amz-date"),
            "agent": headers.get("user-agent"),
            "region": scope and scope.group(1), "at": time.time()})
        action, at = rule["action"], rule.get("at")
        limit = rule.get("bytes", 0)
        length = int(headers.get("content-length", 0))

        if action == "reset" and "bytes" not in rule:
            self.client.reset()
            return False
        if action == "stall" and at == "request":
            self.stall()
            action = "pass"
        if action in ("delay", "throttle"):
            time.sleep(rule.get("ms", 0) / 1000)
        if headers.get("expect", "").lower() == "100-continue":
            self.client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(line for line in head.split(b"\r\n")
                                if not line.lower().startswith(b"expect:"))
        forward = action not in ("reply", "raw") or rule.get("forward")
        if forward:
            self.connect()
            self.upstream.send(head + b"\r\n\r\n")
        moved = 0
        while moved < length:
            if action in ("stall", "slow") and at == "upload" and moved >= limit:
                self.stall(1 if action == "slow" else None)
                action = "pass" if action == "stall" else "slow"
            data = self.client.some(1 if action == "slow" and at == "upload"
                                    and moved >= limit else length - moved)
            if action == "alter" and at == "upload":
                data = flipped(data, rule["flip"] - moved)
            moved += len(data)
            if forward:
                self.upstream.send(data)
        if action == "raw":
            self.client.send(rule["body"].encode("latin-1"))
            return False
        if not forward:
            self.reply(rule, method)
            return True

        head = self.upstream.head()
        if action == "lose":
            return False
        if action == "reply":
            self.body(head, method, lambda data: None)
            self.reply(rule, method)
            return True
        if action == "alter":
            head = altered(head, rule.get("headers", {}))
        self.send(head + b"\r\n\r\n", action == "slow" and at == "reply"
                  and "bytes" not in rule)
        sent = 0

        began = time.monotonic()

        def pass_on(data):
            nonlocal sent, action
            if action == "alter" and at != "upload" and "flip" in rule:
                data = flipped(data, rule["flip"] - sent)
            if action == "throttle":
                self.slowly(data, began + sent / rule["rate"], rule["rate"])
                sent += len(data)
                return
            while data:
                room = limit - sent
                if action in ("cut", "reset", "stall") and len(data) > room:
                    if room > 0:
                        self.client.send(data[:room])
                    sent, data = limit, data[max(room, 0):]
                    if action == "reset":
                        self.client.reset()
                    if action != "stall":
                        raise Gone
                    self.stall()
                    action = "pass"
                piece = data[:room] if action == "slow" and room > 0 else data
                self.send(piece, action == "slow" and at == "reply" and room <= 0)
                sent += len(piece)
                data = data[len(piece):]

        self.body(head, method, pass_on)
        return headers_of(head).get("connection", "").lower() != "close"

    def send(self, data, slowly=False):
        if not slowly:
            return self.client.send(data)
        for i in range(len(data)):
            self.stall(1)
            self.client.send(data[i:i + 1])

    def connect(self):
        if self.upstream is None:
            self.upstream = Side(socket.create_connection(self.state.upstream))

    def body(self, head, method, pass_on):
        """Read the reply's body from the server, piece by piece."""
        status = int(head.split(b" ")[1])
        headers = headers_of(head)
        if method == "HEAD" or status in (204, 304):
            return
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                line = self.upstream.line()
                left = int(line.split(b";")[0], 16) + 2
                pass_on(line + b"\r\n")
                last = left == 2
                while left:
                    data = self.upstream.some(left)
                    left -= len(data)
                    pass_on(data)
                if last:
                    return
        left = int(headers.get("content-length", 0))
        while left:
            data = self.upstream.some(min(left, CHUNK))
            left -= len(data)
            pass_on(data)

    def reply(self, rule, method):
        body = rule.get("body", "").encode() * rule.get("repeat", 1)
        lines = [f"HTTP/1.1 {rule.get('status', 500)} Fault",
                 f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}"
                  for name, value in rule.get("headers", {}).items()]
        self.client.send("\r\n".join(lines).encode() + b"\r\n\r\n"
                         + (b"" if method == "HEAD" else body))

    def slowly(self, data, at, rate):
        """Send at this many bytes per second, from this time on."""
        for start in range(0, len(data), 16384):
            self.client.send(data[start:start + 16384])
            time.sleep(max(0, at + (start + 16384) / rate - time.monotonic()))

    def stall(self, seconds=None):
        """Wait for so long, to be released, or until the client has gone."""
        until = time.monotonic() + (seconds if seconds is not None else 1e9)
        with self.state.lock:
            released = self.state.released
            self.state.stalled += 1
        try:
            while not released.wait(0.05) and time.monotonic() < until:
                if self.client.is_gone():
                    break
        finally:
            with self.state.lock:
                if released is self.state.released:
                    self.state.stalled -= 1
        if self.client.is_gone():
            raise Gone


class Control(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            answer = self.server.state.control(json.loads(line))
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler, state):
        super().__init__(("127.0.0.1", 0), handler)
        self.state = state
        threading.Thread(target=self.serve_forever, daemon=True).start()


def main():
    if len(sys.argv) != 2 or ":" not in sys.argv[1]:
        sys.exit("usage: fault_proxy.py HOST:PORT")
    host, port = sys.argv[1].rsplit(":", 1)
    state = State(host, int(port))
    servers = [Server(Client, state), Server(Control, state)]
    print(*(server.server_address[1] for server in servers), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
