"""What the measurements of loads from S3 share.

A cluster of their own, whose server "lake" reaches an endpoint: the one that is
given, or the S3 server that the variables STEDI_S3_* describe (see
test/s3/radosgw) through the fault proxy, which adds latency or limits the
bandwidth of each connection.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(TESTS / "s3"))


class Lake:
    def __init__(self, endpoint=None):
        self.endpoint = endpoint
        self.bucket = os.environ.get("STEDI_S3_BUCKET", "bucket")
        self.proxy = None

    def __enter__(self):
        if not self.endpoint:
            self.start_proxy()
        self.dir = tempfile.mkdtemp(prefix="stedi-bench-")
        subprocess.run([TESTS / "cluster", "start", self.dir], check=True)
        self.sql(f"""
            CREATE EXTENSION stedi;
            CREATE SERVER lake FOREIGN DATA WRAPPER stedi OPTIONS (
                endpoint '{self.endpoint}', url_style 'path',
                region '{os.environ.get("STEDI_S3_REGION", "us-east-1")}');
            CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (
                access_key_id '{os.environ.get("STEDI_S3_ACCESS_KEY_ID", "anybody")}',
                secret_access_key '{os.environ.get("STEDI_S3_SECRET_ACCESS_KEY", "anything")}');
            CREATE TABLE target (n bigint, pad text, record_id bigint);""")
        return self

    def start_proxy(self):
        if "STEDI_S3_ENDPOINT" not in os.environ:
            sys.exit("Start an S3 server with test/s3/radosgw and export what its env file says.")
        import s3client
        self.s3 = s3client.connect()
        self.proxy = subprocess.Popen(
            [sys.executable, TESTS / "s3" / "fault_proxy.py",
             os.environ["STEDI_S3_ENDPOINT"].split("//")[1]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port, control = self.proxy.stdout.readline().split()
        self.control = socket.create_connection(("127.0.0.1", int(control))).makefile("rw")
        self.endpoint = f"http://127.0.0.1:{port}"

    def __exit__(self, *_):
        subprocess.run([TESTS / "cluster", "stop", self.dir])
        if self.proxy:
            self.proxy.stdin.close()
            self.proxy.wait()
        shutil.rmtree(self.dir)

    def sql(self, text):
        return subprocess.run(
            [TESTS / "cluster", "run", self.dir, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1"],
            input=text, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def tell(self, **message):
        """Tell the proxy; see fault_proxy.py."""
        print(json.dumps(message), file=self.control, flush=True)
        return json.loads(self.control.readline())

    def put_all(self, bodies):
        """Put objects under their keys, unless they are there already."""
        def put(item):
            self.s3.put_object(Bucket=self.bucket, Key=item[0], Body=item[1])

        first, last = bodies[0][0], bodies[-1][0]
        if all("Contents" in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=key)
               for key in (first, last)):
            return
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, bodies))

    def load(self, prefix, settings=""):
        """Load what is below a prefix; return seconds, objects and rows."""
        seconds, objects, rows = self.sql(f"""
            TRUNCATE target, stedi.object, stedi.reject;
            {settings};
            SELECT extract(epoch FROM clock_timestamp() - statement_timestamp()), objects, rows
            FROM (SELECT count(*) AS objects, sum(rows_loaded) AS rows
                  FROM stedi.load('target', 's3://{self.bucket}/{prefix}') OFFSET 0) AS l;""").split("|")
        return float(seconds), int(objects), int(rows)
