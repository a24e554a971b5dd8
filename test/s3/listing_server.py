#!/usr/bin/env python3
"""A bucket with many objects that can only be listed.

    listing_server.py COUNT

Answers ListObjectsV2 with the keys many/00000000.json and so on, a thousand to
a page, made up as they are asked for, and everything else with 404.  Prints its
port and serves until standard input is closed.
"""

import http.server
import sys
import threading
import urllib.parse

COUNT = int(sys.argv[1])
PAGE = 1000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        if "list-type" not in query:
            self.send_error(404)
            return
        first = int(query.get("continuation-token", ["0"])[0])
        last = min(first + PAGE, COUNT)
        contents = "".join(
            f"<Contents><Key>many/{i:08d}.json</Key><Size>1</Size>"
            f'<ETag>"{i:032x}"</ETag>'
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for i in range(first, last))
        more = (f"<IsTruncated>true</IsTruncated>"
                f"<NextContinuationToken>{last}</NextContinuationToken>"
                if last < COUNT else "<IsTruncated>false</IsTruncated>")
        body = ('<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
                f"{more}{contents}</ListBucketResult>").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
