#!/usr/bin/python3
"""An S3 server that has nothing but latency: what a client makes of that shows.

    latency_server.py OBJECTS BYTES MS

It lists and sends OBJECTS objects of about BYTES bytes of JSON, each reply MS
milliseconds after its request, as many at once as the client likes.  It prints
its port, ends with its standard input, and tells how many connections it has
had to whoever asks for /connections.  It checks no signature.
"""

import asyncio
import hashlib
import re
import sys
from urllib.parse import parse_qs, urlsplit

OBJECTS, BYTES, SECONDS = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
PAGE = 1000
LINE = b'{"n":%d,"pad":"' % 10 ** 9 + b"x" * 75 + b'"}\n'
BODY = LINE * max(BYTES // len(LINE), 1)
ETAG = hashlib.md5(BODY).hexdigest()
connections = 0


def page(query, prefix):
    start = int(query.get("continuation-token", ["0"])[0])
    end = min(start + PAGE, OBJECTS)
    entries = "".join(
        f"<Contents><Key>{prefix}{i:08}.json</Key><Size>{len(BODY)}</Size><ETag>&quot;{ETAG}&quot;</ETag>"
        "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>" for i in range(start, end))
    more = end < OBJECTS
    return (f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>"
            + (f"<NextContinuationToken>{end}</NextContinuationToken>" if more else "")
            + entries + "</ListBucketResult>").encode()


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        global connections
        connections += 1
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            target = urlsplit(re.match(rb"GET (\S+)", head).group(1).decode())
            query = parse_qs(target.query)
            if target.path == "/connections":
                body = b"%d" % connections
            elif "list-type" in query:
                body = page(query, query.get("prefix", [""])[0])
            else:
                body = BODY
            asyncio.get_running_loop().call_later(
                SECONDS, self.transport.write,
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"%s\"\r\n\r\n" % (len(body), ETAG.encode()) + body)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
