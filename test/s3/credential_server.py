#!/usr/bin/env python3
"""What hands out AWS credentials, for tests: a container's and an instance's
metadata service, and STS.

    credential_server.py FILE

listens on a port of 127.0.0.1, prints it, and ends when its standard input does.
What it gives is read from FILE, a JSON object, anew for each request:

  id, secret, life   the keys, and the seconds until they expire
  token              a session token, for containers and instances (optional)
  authorization      what containers have to send (optional)
  hang               do not answer at all (optional)

Each request is noted in FILE.log, a line "METHOD PATH".
"""

import datetime
import http.server
import json
import sys
import threading
import time

ROLE = "/latest/meta-data/iam/security-credentials/"
STS = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result>
<Credentials><AccessKeyId>{1}</AccessKeyId><SecretAccessKey>{2}</SecretAccessKey>
<SessionToken>role-token</SessionToken><Expiration>{3}</Expiration></Credentials>
</{0}Result></{0}Response>"""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, text=""):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self):
        with open(sys.argv[1] + ".log", "a") as log:
            log.write(f"{self.command} {self.path}\n")
        with open(sys.argv[1]) as file:
            given = json.load(file)
        form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if given.get("hang"):
            time.sleep(600)
        expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(
            seconds=given["life"])
        keys = {"Code": "Success", "AccessKeyId": given["id"],
                "SecretAccessKey": given["secret"],
                "Expiration": expiry.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if "token" in given:
            keys["Token"] = given["token"]

        if self.command == "POST" and self.path == "/":
            action = ("AssumeRoleWithWebIdentity" if b"WebIdentity" in form
                      else "AssumeRole")
            self.answer(200, STS.format(action, given["id"], given["secret"],
                                        keys["Expiration"]))
        elif self.path == "/container":
            wanted = given.get("authorization")
            if wanted is not None and self.headers["Authorization"] != wanted:
                self.answer(401)
            else:
                self.answer(200, json.dumps(keys))
        elif self.command == "PUT" and self.path == "/latest/api/token":
            self.answer(200, "session")
        elif self.headers["X-aws-ec2-metadata-token"] != "session":
            self.answer(401)
        elif self.path == ROLE:
            self.answer(200, "reader")
        elif self.path == ROLE + "reader":
            self.answer(200, json.dumps(keys))
        else:
            self.answer(404)

    do_GET = do_PUT = do_POST = handle_request


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def main():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


main()
