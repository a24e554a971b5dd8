"""The engines: each runs the whole job, or a part of it, once."""

import collections
import glob
import json
import os
import shutil
import subprocess
import threading
import time
import zlib

import job

HERE = os.path.dirname(os.path.abspath(__file__))
TEST = os.path.dirname(HERE)

SETTINGS = {
    "shared_buffers": "2GB", "work_mem": "64MB", "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB", "checkpoint_timeout": "15min",
    # What parallel queries share, in the huge pages, too.
    "min_dynamic_shared_memory": "256MB",
    # These are defaults, said because they matter.
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
    "wal_level": "replica", "autovacuum": "on",
}
DATABASE = "bench"
os.environ["PGOPTIONS"] = "-c client_min_messages=warning"

# Lines of JSON as COPY takes them whole: the characters occur in no line.
LINES = "(FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
FROM_LINES = """
    INSERT INTO copied
    SELECT j->>'user', to_timestamp((j->>'timestamp')::float8 / 1000), (j->>'x')::float8,
           (j->>'y')::float8, (j->>'z')::float8, NULL, row_number() OVER ()
    FROM (SELECT line::jsonb AS j FROM lines OFFSET 0) AS l"""

# A stage of a run: rows and size (bytes) of what went in or came out.
Stage = collections.namedtuple("Stage", "name seconds rows size wal", defaults=(None,) * 3)
# usage may be None.  checks: what to compare with the other engines.
Run = collections.namedtuple("Run", "stages usage checks")


class Failure(Exception):
    """The benchmark cannot go on."""


class Usage:
    """What a process and its descendants use while the block runs.

    peak: the most private memory that they had at a time, in bytes.  Private is
    RssAnon: it leaves out the shared buffers, of which every backend counts what
    it has touched, and the programs' code.  cpu: seconds.
    """

    INTERVAL = 0.1      # seconds
    TICKS = os.sysconf("SC_CLK_TCK")

    def __init__(self, pid):
        self.pid, self.peak, self.cpu, self.done = pid, 0, 0, threading.Event()
        self.before = self.read(pid)[1]
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def watch(self):
        last = False
        while not last:
            last = self.done.wait(self.INTERVAL)
            memory, cpu = self.read(self.pid)
            self.peak = max(self.peak, memory)
            # Less than before: a child has ended that nobody waited for.
            self.cpu = max(self.cpu, cpu - self.before)

    def read(self, pid):
        """Return the memory now and the seconds so far of a process and all below it."""
        memory, cpu = 0, 0
        try:
            with open(f"/proc/{pid}/stat") as file:
                # User and system time, its own and of children that have ended.
                cpu += sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / self.TICKS
            with open(f"/proc/{pid}/status") as file:
                memory += sum(int(line.split()[1]) * 1024 for line in file
                              if line.startswith("RssAnon:"))
            for name in glob.glob(f"/proc/{pid}/task/*/children"):
                with open(name) as file:
                    for child in map(self.read, file.read().split()):
                        memory, cpu = memory + child[0], cpu + child[1]
        except OSError:     # it has ended meanwhile
            pass
        return memory, cpu


class Session:
    """A psql that stays; a query returns its rows as lists of strings."""

    END = "-- end of answer --"

    def __init__(self, cluster):
        self.process = subprocess.Popen(
            cluster.words("psql", "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", DATABASE),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cluster.dir)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def query(self, sql):
        self.process.stdin.write(f"{sql};\n\\echo {self.END}\n")
        self.process.stdin.flush()
        rows = []
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line == self.END:
                return rows
            rows.append(line.split("\t"))
        raise Failure(f"PostgreSQL could not do this: {sql}")

    def numbers(self, sql):
        """Return the first row of a query as integers."""
        return [int(value or 0) for value in self.query(sql)[0]]

    def timed(self, name, sql):
        """Run a statement as a stage; return that and the rows."""
        wal = "SELECT pg_current_wal_lsn() - '0/0'"
        before, started = self.numbers(wal)[0], time.perf_counter()
        rows = self.query(sql)
        seconds = time.perf_counter() - started
        return Stage(name, seconds, wal=self.numbers(wal)[0] - before), rows


class Cluster:
    """A throwaway PostgreSQL; every run gets a database of its own."""

    HUGE_PAGES = "/proc/sys/vm/nr_hugepages"

    def __init__(self, directory):
        self.dir, self.huge_pages_before = directory, None

    def control(self, action):
        subprocess.run([f"{TEST}/cluster", action, self.dir], check=True)

    def words(self, *words):
        return [f"{TEST}/cluster", "run", self.dir, *words]

    def start(self):
        self.control("start")
        self.configure(SETTINGS)
        self.control("stop")
        self.control("start")
        SETTINGS["huge_pages"] = "on" if self.reserve_huge_pages() else "off"
        self.configure({"huge_pages": SETTINGS["huge_pages"]})
        self.control("stop")
        self.control("start")
        with open(f"{self.dir}/data/postmaster.pid") as file:
            self.pid = int(file.readline())

    def stop(self):
        self.control("stop")
        if self.huge_pages_before is not None:
            with open(self.HUGE_PAGES, "w") as file:
                file.write(self.huge_pages_before)

    def configure(self, settings):
        with open(f"{self.dir}/data/postgresql.conf", "a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def reserve_huge_pages(self):
        """For the shared memory, as PostgreSQL's documentation advises; only root can."""
        needed = int(self.psql("postgres", "SHOW shared_memory_size_in_huge_pages"))
        try:
            with open(self.HUGE_PAGES, "r+") as file:
                before = file.read()
                file.seek(0)
                file.write(str(int(before) + needed))
                file.flush()
                self.huge_pages_before = before
                file.seek(0)
                return int(file.read()) >= int(before) + needed
        except OSError:
            return False

    def psql(self, database, *statements, script=None):
        words = [word for statement in statements for word in ("-c", statement)]
        with open(script or os.devnull) as file:
            return subprocess.run(
                self.words("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database,
                           *words or ["-f", "-"]),
                check=True, cwd=self.dir, stdin=file, stdout=subprocess.PIPE, text=True).stdout

    def new_database(self, *statements):
        self.psql("postgres", f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE}")
        self.psql(DATABASE, "CREATE EXTENSION stedi", *statements, "CHECKPOINT")


def export_check(pattern):
    """Return rows, checksum, subjects and devices of exported NDJSON, read by nobody's engine."""
    rows, checksum, subjects, devices = 0, 0, set(), set()
    for name in glob.glob(pattern):
        with open(name, "rb") as file:
            for line in file:
                row = json.loads(line)
                rows += 1
                checksum += zlib.crc32(repr([
                    row["sensorReadingTime"], row["distanceFromObject"],
                    float(row["x"]), float(row["y"]), float(row["z"])]).encode())
                subjects.add(row["subject"])
                devices.add(row["device"])
    return [rows, checksum, len(subjects), len(devices)]


class Engines:
    """All engines, on landing data that lies in work/landing."""

    def __init__(self, work, cluster, python):
        self.cluster, self.python, self.work = cluster, python, work
        self.landing = f"{work}/landing"
        self.files, self.bytes, self.rows, self.versions = {}, {}, {}, {}
        # PostgreSQL writes here.
        self.shared = f"{work}/shared"
        shutil.rmtree(self.shared, ignore_errors=True)
        os.mkdir(self.shared)
        os.chmod(self.shared, 0o777)

    def make_landing(self, scale):
        shutil.rmtree(self.landing, ignore_errors=True)
        subprocess.run([f"{HERE}/make-scale", "--scale", str(scale), self.landing], check=True)
        for kind in job.KINDS:
            self.files[kind] = sorted(glob.glob(f"{self.landing}/{kind}/landing/*"))
            self.bytes[kind] = sum(map(os.path.getsize, self.files[kind]))
            self.rows[kind] = 0
            for name in self.files[kind]:       # so that it is in the page cache
                with open(name, "rb") as file:
                    self.rows[kind] += sum(1 for _ in file)

    # -- PostgreSQL --------------------------------------------------------------

    def stedi(self, checking, root=None, setup=()):
        """root: a lake on S3, that setup makes known; else the directories."""
        source, target = root or f"file://{self.landing}/", root or f"file://{self.shared}/"
        self.cluster.new_database(*setup, f"SELECT stedi.attach('{source}')")
        stages = []
        with Session(self.cluster) as session, Usage(self.cluster.pid) as usage:
            for kind in job.KINDS:
                stage, rows = session.timed(
                    f"ingest {kind}", f"SELECT sum(rows_loaded) FROM stedi.ingest('{kind}')")
                if int(rows[0][0]) != self.rows[kind]:
                    raise Failure(f"stedi loaded {rows[0][0]} of {self.rows[kind]} {kind} records")
                stages.append(stage._replace(rows=self.rows[kind], size=self.bytes[kind]))
            stage, rows = session.timed(
                "zone", "SELECT zone, rows, extract(epoch FROM elapsed) FROM stedi.refresh()")
            zones = [Stage(f"zone {zone}", float(seconds), int(count))
                     for zone, count, seconds in rows]
            rest = stage.seconds - sum(zone.seconds for zone in zones)
            stages += [*zones, stage._replace(name="zone (all, less the above)", seconds=rest)]
            stage, rows = session.timed(
                "export files", "SELECT sum(rows), sum(bytes) FROM stedi.export("
                f"'stedi.machine_learning_curated', '{target}export/', mode => 'overwrite')")
            stages.append(stage._replace(rows=int(rows[0][0]), size=int(rows[0][1])))
        checks = self.checks(job.CHECKS) if checking else {}
        if checking and not root:
            checks["export"] = export_check(f"{self.shared}/export/part-*")
        return Run(stages, usage, checks)

    def stedi_workers(self, checking):
        """The job as a scheduler calls it, with as many workers as DuckDB has threads."""
        self.cluster.new_database(
            f"SELECT stedi.attach('file://{self.landing}/')",
            f"UPDATE stedi.export_target SET uri = 'file://{self.shared}/export/'")
        with Session(self.cluster) as session, Usage(self.cluster.pid) as usage:
            stage, _ = session.timed("whole", "CALL stedi.run(workers => 2)")
            # The zones say when they were done; what is before is not told apart.
            export = float(session.query("""
                SELECT extract(epoch FROM clock_timestamp() - max(refreshed_at))
                FROM stedi.zone""")[0][0])
        stages = [Stage("zones with ingest", stage.seconds - export, sum(self.rows.values()),
                        sum(self.bytes.values()), stage.wal),
                  Stage("export files", export)]
        checks = self.checks(job.CHECKS) if checking else {}
        if checking:
            checks["export"] = export_check(f"{self.shared}/export/part-*")
        return Run(stages, usage, checks)

    def checks(self, tables):
        self.cluster.psql(DATABASE, script=f"{HERE}/check.sql")
        with Session(self.cluster) as session:
            session.query("SET search_path = bench")
            return {table: session.numbers(job.check_query(
                table, lambda text: f"('x' || substr(md5({text}), 1, 8))::bit(32)::bigint"))
                for table in tables}

    def save_copies(self):
        """Write what COPY is to load: the rows that stedi has loaded."""
        for form in ("text", "binary"):
            self.cluster.psql(DATABASE, "COPY stedi.accelerometer_landing TO"
                              f" '{self.shared}/{form}' (FORMAT {form})")

    def copy(self, form, checking):
        name = f"{self.shared}/{form}"
        return self.load(checking, [(
            f"copy {form}", f"COPY copied FROM '{name}' (FORMAT {form})", os.path.getsize(name))])

    def insert_select(self, checking):
        size = self.bytes["accelerometer"]
        lines = "; ".join(f"COPY lines FROM '{name}' {LINES}"
                          for name in self.files["accelerometer"])
        return self.load(checking, [("copy lines", lines, size),
                                    ("insert select", FROM_LINES, size)])

    def load(self, checking, statements):
        """Load the accelerometer readings into a table like the landing table."""
        self.cluster.new_database("CREATE TABLE copied (LIKE stedi.accelerometer_landing)",
                                  "CREATE TABLE lines (line text)")
        with Session(self.cluster) as session, Usage(self.cluster.pid) as usage:
            stages = [session.timed(name, sql)[0]._replace(
                rows=self.rows["accelerometer"], size=size) for name, sql, size in statements]
        checks = {}
        if checking:
            self.cluster.psql(DATABASE, "INSERT INTO stedi.accelerometer_landing TABLE copied")
            checks = self.checks(["accelerometer_landing"])
        return Run(stages, usage, checks)

    # -- DuckDB and Spark --------------------------------------------------------

    def peer(self, name, checking):
        folder, log = f"{self.work}/{name}", f"{self.work}/{name}.log"
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        words = [self.python, f"{HERE}/peers/{name}_job.py", self.landing, folder]
        with open(log, "w") as errors, subprocess.Popen(
                words + ["check"] * checking, stdout=subprocess.PIPE, stderr=errors,
                text=True) as process, Usage(process.pid) as usage:
            output = process.stdout.read()
        if process.returncode != 0:
            with open(log) as file:
                raise Failure(f"{name} failed:\n{file.read()[-3000:]}")
        answer = json.loads(output.splitlines()[-1])
        self.versions[name] = answer["version"]
        checks = answer["checks"]
        exported = f"{folder}/export/*.json"
        if checking:
            checks["export"] = export_check(exported)
        stages = [self.with_amounts(Stage(*stage), exported) for stage in answer["stages"]]
        shutil.rmtree(folder)
        return Run(stages, usage, checks)

    def with_amounts(self, stage, exported):
        kind = stage.name.removeprefix("ingest ")
        if kind in job.KINDS:
            return stage._replace(rows=self.rows[kind], size=self.bytes[kind])
        if stage.name == "export files":
            return stage._replace(size=sum(map(os.path.getsize, glob.glob(exported))))
        return stage


class S3:
    """A local S3 server with the landing data on it, while the block runs."""

    def __init__(self, engines):
        self.engines = engines
        self.dir = f"{engines.work}/s3"
        self.as_user = []
        os.mkdir(self.dir)
        if os.getuid() == 0:        # the user that test/cluster takes too
            owner = os.stat(f"{engines.cluster.dir}/data")
            self.as_user = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}",
                            "--clear-groups"]
            os.chown(self.dir, owner.st_uid, owner.st_gid)

    def control(self, action):
        # The checkout need not be readable for the user.
        for name in ("radosgw", "local_server.py", "s3client.py"):
            shutil.copy(f"{TEST}/s3/{name}", self.engines.work)
        subprocess.run([*self.as_user, f"{self.engines.work}/radosgw", action, self.dir],
                       check=True, stdout=subprocess.DEVNULL)

    def __enter__(self):
        import s3client
        self.control("start")
        with open(f"{self.dir}/env") as file:
            env = dict(line.strip().replace("'", "").split("=", 1) for line in file)
        self.client = s3client.connect(env)
        self.bucket = env["STEDI_S3_BUCKET"]
        self.root = f"s3://{self.bucket}/"
        self.setup = [
            f"CREATE SERVER lake FOREIGN DATA WRAPPER stedi OPTIONS (scope '{self.root}',"
            f" region '{env['STEDI_S3_REGION']}', endpoint '{env['STEDI_S3_ENDPOINT']}',"
            " url_style 'path')",
            "CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS"
            f" (access_key_id '{env['STEDI_S3_ACCESS_KEY_ID']}',"
            f" secret_access_key '{env['STEDI_S3_SECRET_ACCESS_KEY']}')"]
        self.keys = [os.path.relpath(name, self.engines.landing)
                     for kind in job.KINDS for name in self.engines.files[kind]]
        for key in self.keys:
            self.client.upload_file(f"{self.engines.landing}/{key}", self.bucket, key)
        return self

    def __exit__(self, *_):
        self.control("stop")
        shutil.rmtree(self.dir)

    def stedi(self, checking):
        return self.engines.stedi(checking, self.root, self.setup)

    def url(self, method, key):
        return self.client.generate_presigned_url(
            method, Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=86400)

    def curl(self, _checking):
        """Get what stedi gets and put what it puts: the server's limit."""
        exported = max(glob.glob(f"{self.engines.shared}/export/part-*"), key=os.path.getsize)
        stages = []
        for name, size, words in [
                ("get", sum(self.engines.bytes.values()),
                 ["-Z", "--parallel-max", "8", *(word for key in self.keys for word in (
                     "-o", "/dev/null", self.url("get_object", key)))]),
                ("put", os.path.getsize(exported),
                 ["-T", exported, "-H", "Expect:", self.url("put_object", "put")])]:
            started = time.perf_counter()
            subprocess.run(["curl", "-sSf", "--no-progress-meter", "--noproxy", "*", *words],
                           check=True)
            stages.append(Stage(name, time.perf_counter() - started, size=size))
        return Run(stages, None, {})
