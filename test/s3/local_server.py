"""What the private S3 servers of the tests have in common.

Each listens on 127.0.0.1 only, on ports that are picked at run time, and
keeps every file under one directory, so that any number of them can run side
by side and any user can run one.  The program of each is

    SERVER start DIR      start it, make users and buckets, write DIR/env;
                          DIR is absent, empty or from an earlier start
    SERVER stop DIR       stop whatever runs for DIR; removes no file
    SERVER status DIR     say what runs; exit 0 if all does, 3 if not

DIR/env can be sourced by a shell:

    STEDI_S3_ENDPOINT      http://127.0.0.1:PORT, for path style
    STEDI_S3_DNS_ENDPOINT  http://localhost:PORT; BUCKET.localhost works too
    STEDI_S3_TLS_ENDPOINT  https://localhost:PORT, trusted with
    STEDI_S3_CA_FILE       the CA this server's certificate hangs on
    STEDI_S3_REGION, STEDI_S3_BUCKET
    STEDI_S3_ACCESS_KEY_ID, STEDI_S3_SECRET_ACCESS_KEY
                           the owner of stedi-lakehouse and stedi-test
    STEDI_S3_OTHER_ACCESS_KEY_ID, STEDI_S3_OTHER_SECRET_ACCESS_KEY
                           the owner of STEDI_S3_OTHER_BUCKET, where the
                           first user is denied
    STEDI_S3_STS_ENDPOINT, STEDI_S3_ROLE_ARN
                           with the feature sts: STS, and S3 that takes its
                           keys; a role that the first user may assume there,
                           and that may do everything
    STEDI_S3_FEATURES      what this server does and others don't, with commas:
                           key-id  says InvalidAccessKeyId of an unknown one
                           region  refuses what is signed for another region
                           sts     is a security token service

The interpreter is the distribution's, the one python3-boto3 is installed for.
"""

import importlib.util
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

START_SECONDS = 90      # give up then; 2 to 5 s are usual on an idle machine
GRACE_SECONDS = 5       # between SIGTERM and SIGKILL

BUCKETS = ["stedi-lakehouse", "stedi-test"]
OTHER_BUCKET = "stedi-private"
REGION = "us-east-1"    # so that boto3 sends no LocationConstraint


class Failure(Exception):
    """Something the person who called start can read and act on."""


class LocalServer:
    """A server that lives in one directory; each kind is a subclass.

    name       the program's
    conf_name  the configuration, whose path every daemon has as an argument;
               its first line, mark, proves that a directory is this server's
    daemons    that make up the server
    programs   that have to be installed
    modules    of Python that have to be, {module: package}
    files, folders  in the directory, besides those of every server
    features   for STEDI_S3_FEATURES
    more_variables  for the env file, set by start_daemons()
    """

    def __init__(self, directory):
        self.dir = os.path.realpath(directory)
        self.conf = os.path.join(self.dir, self.conf_name)
        self.mark = f"# made by test/s3/{self.name}\n"
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith(("CEPH_", "STEDI_"))}
        self.environment["PATH"] = (os.environ.get("PATH", "")
                                    + ":/usr/bin:/usr/sbin:/bin:/sbin")
        self.children = []
        self.more_variables = {}

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    # -- what runs ---------------------------------------------------------

    def processes(self):
        """Return {pid: program} of all that runs with our configuration.

        Every daemon and helper has it as an argument, which identifies them
        even if this script was killed half-way, and never anybody else's.
        """
        found = {}
        names = self.daemons + self.programs
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = os.fsdecode(file.read()).split("\0")
            except OSError:
                continue
            if self.conf in words and int(entry) != os.getpid():
                found[int(entry)] = next(
                    (os.path.basename(word) for word in words
                     if os.path.basename(word) in names), words[0])
        return found

    def stop(self):
        """Stop all.  What is being started meanwhile is caught as well."""
        while True:
            running = self.processes()
            if not running:
                return
            # A gateway before the store it would wait for while it ends.
            for pid in sorted(running, key=lambda pid: running[pid],
                              reverse=True):
                self.signal(pid, signal.SIGTERM)
                if self.wait_gone(pid):
                    continue
                self.signal(pid, signal.SIGKILL)
                if not self.wait_gone(pid):
                    raise Failure(f"can't stop process {pid}")

    @staticmethod
    def signal(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def wait_gone(self, pid):
        deadline = time.monotonic() + GRACE_SECONDS
        while pid in self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    # -- starting ----------------------------------------------------------

    def run(self, *words):
        """Run a helper to its end; its words are shown if it fails."""
        try:
            done = subprocess.run(
                words, env=self.environment, cwd=self.dir,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{words[0]} didn't end within {START_SECONDS} s")
        if done.returncode != 0:
            output = done.stdout.decode(errors="replace").strip()
            raise Failure(f"{words[0]} failed:\n{output}")

    def spawn(self, *words, name=None):
        """Start a daemon that outlives this script."""
        name = name or words[0]
        with open(self.path("log", name + ".out"), "ab") as output:
            self.children.append((name, subprocess.Popen(
                words, env=self.environment, cwd=self.dir,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)))

    def wait_port(self, port):
        """Wait until a daemon listens; fail at once when one died."""
        while True:
            for name, child in self.children:
                if child.poll() is not None:
                    raise Failure(f"{name} ended with status "
                                  f"{child.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                pass
            if time.monotonic() > self.deadline:
                raise Failure(f"no answer within {START_SECONDS} s")
            time.sleep(0.05)

    def make_certificate(self):
        """Make a CA and a certificate for every name a test may use."""
        # "*.localhost" has too few labels for OpenSSL to accept it.
        names = ["localhost"] + [f"{bucket}.localhost"
                                 for bucket in BUCKETS + [OTHER_BUCKET]]
        alternatives = ",".join(["IP:127.0.0.1"]
                                + [f"DNS:{name}" for name in names])
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
               "-nodes"]
        with open(self.path("tls", "extensions"), "w") as file:
            file.write(f"subjectAltName = {alternatives}\n"
                       "basicConstraints = CA:FALSE\n")
        self.run("openssl", "req", "-x509", *key, "-days", "30",
                 "-subj", "/CN=stedi test CA", "-keyout", "tls/ca.key",
                 "-out", "ca.pem")
        self.run("openssl", "req", *key, "-subj", "/CN=localhost",
                 "-keyout", "tls/server.key", "-out", "tls/server.csr")
        self.run("openssl", "x509", "-req", "-days", "30",
                 "-in", "tls/server.csr", "-CA", "ca.pem",
                 "-CAkey", "tls/ca.key", "-CAcreateserial",
                 "-extfile", "tls/extensions", "-out", "tls/server.pem")

    def prepare(self):
        """Lay out the directory, without what an earlier start left there."""
        missing = [name for name in self.programs + ["openssl"]
                   if not shutil.which(name, path=self.environment["PATH"])]
        missing += [package for module, package
                    in {"boto3": "python3-boto3", **self.modules}.items()
                    if not importlib.util.find_spec(module)]
        if missing:
            raise Failure("not installed: " + ", ".join(missing)
                          + f" (test/install-deps {self.name} installs them)")
        if len(self.dir.split()) != 1:
            raise Failure("the directory's name must not contain blanks")
        if self.processes():
            raise Failure(f"already running for {self.dir}")
        os.makedirs(self.dir, exist_ok=True)
        # Names like log and run are anybody's: nothing is made or removed in
        # a directory that was in use before this server's first start.
        if not self.is_ours():
            if os.listdir(self.dir):
                raise Failure(f"{self.dir} is neither empty nor this server's")
            self.write_conf("")
        for name in ["env", "ca.pem", "ca.srl"] + self.files:
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        for name in ["log", "run", "tls"] + self.folders:
            shutil.rmtree(self.path(name), ignore_errors=True)
            os.mkdir(self.path(name), 0o700)

    def is_ours(self):
        try:
            with open(self.conf) as file:
                return file.readline() == self.mark
        except FileNotFoundError:
            return False

    def write_conf(self, text):
        with open(self.conf, "w") as file:
            file.write(self.mark + text)

    def start(self):
        self.deadline = time.monotonic() + START_SECONDS
        self.make_certificate()
        http_port, https_port, user, other = self.start_daemons()
        variables = {
            "STEDI_S3_ENDPOINT": f"http://127.0.0.1:{http_port}",
            "STEDI_S3_DNS_ENDPOINT": f"http://localhost:{http_port}",
            "STEDI_S3_TLS_ENDPOINT": f"https://localhost:{https_port}",
            "STEDI_S3_CA_FILE": self.path("ca.pem"),
            "STEDI_S3_REGION": REGION,
            "STEDI_S3_BUCKET": BUCKETS[0],
            "STEDI_S3_ACCESS_KEY_ID": user[0],
            "STEDI_S3_SECRET_ACCESS_KEY": user[1],
            "STEDI_S3_OTHER_BUCKET": OTHER_BUCKET,
            "STEDI_S3_OTHER_ACCESS_KEY_ID": other[0],
            "STEDI_S3_OTHER_SECRET_ACCESS_KEY": other[1],
            "STEDI_S3_FEATURES": self.features,
            **self.more_variables,
        }
        self.make_buckets(variables, BUCKETS)
        self.make_buckets({**variables,
                           "STEDI_S3_ACCESS_KEY_ID": other[0],
                           "STEDI_S3_SECRET_ACCESS_KEY": other[1]},
                          [OTHER_BUCKET])
        self.write_variables(variables)

    def start_daemons(self):
        """Start them, make two users; return the ports of http and https and
        (access key id, secret) of each user."""
        raise NotImplementedError

    @staticmethod
    def make_buckets(variables, buckets):
        import s3client
        client = s3client.connect(variables)
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)

    def write_variables(self, variables):
        """Write the env file last and whole: it says the server is ready."""
        draft = self.path("run", "env")
        self.write_private(draft, "".join(
            f"{name}={shlex.quote(value)}\n"
            for name, value in variables.items()))
        os.rename(draft, self.path("env"))

    @staticmethod
    def write_private(path, text):
        """Write a file with secrets."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(path, flags, 0o600), "w") as file:
            file.write(text)

    def last_log_lines(self):
        """Return the end of every log, for whoever has to find out why."""
        parts = []
        folder = self.path("log")
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), errors="replace") as file:
                lines = file.read().splitlines()[-10:]
            if lines:
                parts.append("\n".join([f"--- {name}"] + lines))
        return "\n".join(parts)


def free_ports(count):
    """Return ports nobody listens on.

    They lie below the range the kernel takes client ports from, so that no
    outgoing connection can grab one before its daemon binds it, and above
    the 6800 to 7300 that Ceph's OSD picks from by itself.
    """
    ports = []
    while len(ports) < count:
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def start(server):
    server.prepare()
    try:
        server.start()
    except BaseException as error:
        server.stop()
        logs = server.last_log_lines()
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise Failure(f"{error}\n{logs}")
    print(server.path("env"))
    return 0


def stop(server):
    server.stop()
    return 0


def status(server):
    running = server.processes()
    for name in server.daemons:
        pids = [str(pid) for pid in running if running[pid] == name]
        print(name, " ".join(pids) or "down")
    return 0 if set(server.daemons) <= set(running.values()) else 3


def main(kind, description):
    """Do what the command line says with a server of this kind."""
    commands = {"start": start, "stop": stop, "status": status}
    if len(sys.argv) == 2 and sys.argv[1] in ["-h", "--help"]:
        print(description.strip() + "\n\n" + __doc__.strip())
        return 0
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        print(f"usage: {kind.name} start|stop|status DIR", file=sys.stderr)
        return 2
    # As SystemExit, so that start cleans up when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return commands[sys.argv[1]](kind(sys.argv[2]))
    except (Failure, OSError) as failure:
        print(f"{kind.name}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
