"""Property test of the zones: many made-up populations against a reference.

    python3 test/property/zones.py [--populations N] [--seed S]

Needs a server with stedi installed (PGHOST and so on in the environment) and
the right to create a database: a scratch database is made and dropped.  Prints
TAP.

A few hundred populations, which share nothing, lie in the landing tables at a
time.  They arrive in two orders; after each the zones are refreshed under both
rules and compared, row by row, with what reference.py says they hold.  What
people agreed to and who wears which device is checked on top, against the
truth that population.py keeps, without the reference.

A population that fails is cut down to the rows that it takes to fail, and
printed.  --only K tries the population of number K alone.
"""

import argparse
import collections
import datetime
import functools
import itertools
import os
import random
import subprocess
import sys

sys.dont_write_bytecode = True

import population as made  # noqa: E402
import reference  # noqa: E402

BATCH = 250
SHOWN = 12              # lines on what is wrong with a population
RULES = ("strict", "published")
EPOCH = datetime.datetime(1970, 1, 1)

CUSTOMER = """customer_name email phone birth_day serial_number
    registration_date last_update_date share_with_research_as_of_date
    share_with_public_as_of_date share_with_friends_as_of_date
    record_id""".split()
READING = "email timestamp x y z record_id".split()
STEP = "sensor_reading_time serial_number distance_from_object".split()

LANDING = {
    "customer_landing": CUSTOMER,
    "accelerometer_landing": READING,
    "step_trainer_landing": STEP + ["record_id"],
}

# Columns in the order of the reference's rows, which have an email and a
# serial number where the last zone has pseudonyms.
ZONES = {
    "customer_trusted": CUSTOMER,
    "accelerometer_trusted": READING,
    "customers_curated": CUSTOMER,
    "device_owner": "serial_number email basis claimants matched"
                    " runner_up".split(),
    "step_trainer_trusted": STEP + ["email", "record_id"],
    "step_trainer_unattributed": STEP + ["record_id"],
    "machine_learning_curated":
        "subject device sensor_reading_time distance_from_object x y z"
        " step_trainer_record_id accelerometer_record_id".split(),
}
PSEUDONYMS = {          # zone -> columns (what it stands for, pseudonym)
    "customers_curated": [("email", "subject")],
    "device_owner": [("serial_number", "device")],
    "step_trainer_trusted": [("email", "subject"),
                             ("serial_number", "device")],
}
RECORD_IDS = {"record_id", "step_trainer_record_id",
              "accelerometer_record_id"}

TESTS = {
    "strict": "strict zones hold the rows of the reference",
    "published": "published zones hold the rows of the reference",
    "consent": "nobody is in a zone without consent at that time",
    "wearer": "a device whose wearer's phone matches best"
              " is never somebody else's",
    "identity": "the training rows hold no email, name or serial number",
    "pseudonym": "a pseudonym stands for one person or device, and back",
    "arrival": "the order of arrival does not change the zones",
}
# These compare with the truth, which holds for a person's records as a whole.
NEED_ALL_RECORDS = {"consent", "wearer"}

# What a run must have met for its result to mean something.
KINDS = set(made.HISTORIES) | {
    "email in another spelling", "in step", "device that nobody wears",
    "repeated serial number", "clock collision", "near miss",
    "exact duplicate", "missing value",
    "claim to a device of somebody who does not share",
    "owner by evidence", "owner by claim", "no owner", "owner by claim, tied",
    "evidence of exactly 3 matches", "no evidence with 2 matches",
    "evidence of exactly twice the runner-up",
    "no evidence with one match less than twice the runner-up",
    "reading at the moment of consent",
    "reading a microsecond before the consent",
    "readings of somebody without consent",
}
ENOUGH_FOR_ALL_KINDS = 200


class BailOut(Exception):
    pass


# The database

def psql(database, script):
    """Run a script; return what it printed."""
    done = subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"],
        input=script.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, PGCLIENTENCODING="UTF8", PGOPTIONS=os.environ.get(
            "PGOPTIONS", "") + " -c timezone=UTC -c datestyle=ISO"
            " -c extra_float_digits=1 -c client_min_messages=warning"))
    if done.returncode != 0:
        raise BailOut("psql: " + done.stderr.decode().strip())
    return done.stdout.decode()


class Scratch:
    """A database of our own, or one that the caller prepared."""

    def __init__(self, name):
        self.created = name is None
        self.name = name or f"stedi_property_{os.getpid()}"

    def __enter__(self):
        if self.created:
            psql("postgres", f'CREATE DATABASE "{self.name}"')
            try:
                psql(self.name, "CREATE EXTENSION stedi")
            except BailOut:
                self.__exit__()
                raise
        held = psql(self.name, " UNION ALL ".join(
            f"(SELECT 1 FROM stedi.{table} LIMIT 1)" for table in LANDING))
        if held:
            raise BailOut(f"database {self.name} holds landing rows")
        return self.name

    def __exit__(self, *_):
        if self.created:
            psql("postgres", f'DROP DATABASE "{self.name}"')


@functools.lru_cache(maxsize=1 << 17)
def time_text(at):
    if at is None:
        return r"\N"
    if at in (made.INFINITY, -made.INFINITY):
        return "infinity" if at > 0 else "-infinity"
    text = str(EPOCH + datetime.timedelta(microseconds=at))
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "+00"


def is_time(column):
    return column.endswith(("_date", "_time")) or column == "timestamp"


@functools.lru_cache(maxsize=None)
def writers(columns):
    return [time_text if is_time(c) else lambda v: r"\N" if v is None
            else str(v) for c in columns]


def as_text(row, columns):
    """Return the row's values as COPY writes them."""
    return tuple(write(value) for write, value
                 in zip(writers(tuple(columns)), row))


def quoted(columns):
    return ", ".join(f'"{c}"' for c in columns)


def load_script(landings, rng):
    """Replace what lies in the landing tables, in a random order on disk."""
    lines = ["TRUNCATE " + ", ".join(f"stedi.{t}" for t in LANDING) + ";"]
    for number, (table, columns) in enumerate(LANDING.items()):
        rows = ["\t".join(as_text(row, columns))
                for landing in landings for row in landing[number]]
        rng.shuffle(rows)
        lines.append(f"COPY stedi.{table} ({quoted(columns)}) FROM STDIN;")
        lines += rows + [r"\."]
    return lines


def zone_script(rules, concurrently):
    lines = [f"SELECT stedi.set_policy('{rules}') IS NULL AS done \\gset",
             "SELECT count(*) AS zones FROM stedi.refresh("
             f"concurrently => {concurrently}) \\gset"]
    for zone, columns in ZONES.items():
        columns = columns + [p for _, p in PSEUDONYMS.get(zone, ())]
        lines += [f"\\echo zone {rules} {zone}",
                  f"COPY (SELECT {quoted(columns)} FROM stedi.{zone})"
                  " TO STDOUT;"]
    return lines


def slot_of(zone, columns, row):
    """Return the slot of the population that a zone's row comes from."""
    if zone == "device_owner":
        return int(row[0].split("-")[0])
    for column, value in zip(columns, row):
        if column in RECORD_IDS:
            return ((int(value) >> 32) - 1) // made.OBJECTS
    raise AssertionError(zone)


def observe(database, landings, rng):
    """Load, refresh; return rules -> slot -> zone -> rows of text."""
    script = load_script(landings, rng)
    script += zone_script("strict", False)
    # What the strict zones hold is there to be replaced, row by row.
    script += zone_script("published", True)
    output = psql(database, "\n".join(script) + "\n")
    observed = {rules: [{zone: [] for zone in ZONES} for _ in landings]
                for rules in RULES}
    for line in output.split("\n")[:-1]:
        if line.startswith("zone "):
            _, rules, zone = line.split()
            continue
        row = tuple(line.split("\t"))
        slot = slot_of(zone, ZONES[zone], row)
        observed[rules][slot][zone].append(row)
    return observed


def assert_apart(landings):
    """Populations that share something would spoil each other's zones."""
    owner = {}
    for slot, landing in enumerate(landings):
        keys = {row.email.casefold().strip() for rows in landing[:2]
                for row in rows if row.email is not None}
        keys |= {row.serial.casefold() for row in landing.steps
                 + landing.customers if row.serial is not None}
        keys |= {row.at for row in landing.readings + landing.steps
                 if row.at is not None}
        keys |= {(kind, row.record_id) for kind, rows
                 in enumerate(landing) for row in rows}
        for key in keys:
            assert owner.setdefault(key, slot) == slot, key
        for rows in landing:
            assert len({row.record_id for row in rows}) == len(rows)


# The checks

class Pseudonyms:
    """What stands for what, over the whole run: both ways one to one."""

    def __init__(self):
        self.of = {}
        self.value = {}

    def meet(self, kind, value, pseudonym):
        """Return what is wrong with the pair, or None."""
        known = self.of.setdefault((kind, value), pseudonym)
        back = self.value.setdefault(pseudonym, (kind, value))
        if known != pseudonym:
            return f"{kind} of {value} is {known} and {pseudonym}"
        if back != (kind, value):
            return f"{pseudonym} stands for {back[1]} and {value}"
        return None

    def stands_for(self, kind, pseudonym):
        known, value = self.value.get(pseudonym, (None, None))
        return value if known == kind else f"unknown {kind} {pseudonym}"


class Checker:
    """Tries populations, a batch at a time."""

    def __init__(self, database, seed):
        self.database = database
        self.seed = seed
        self.pseudonyms = Pseudonyms()
        self.kinds = set()
        self.rows = collections.Counter()
        self.unprotected = 0

    def try_all(self, populations):
        """Return for each population: test -> what is wrong (lines)."""
        wrong = [{test: [] for test in TESTS} for _ in populations]
        contents = []
        columns = psql(self.database, """
            SELECT string_agg(attname, ' ' ORDER BY attnum)
            FROM pg_attribute
            WHERE attrelid = 'stedi.machine_learning_curated'::regclass
              AND attnum > 0 AND NOT attisdropped""").split()
        if columns != ZONES["machine_learning_curated"]:
            wrong[0]["identity"].append("columns: " + ", ".join(columns))

        for arrangement in range(made.ARRANGEMENTS):
            landings = [made.place(population, slot, arrangement)
                        for slot, population in enumerate(populations)]
            assert_apart(landings)
            rng = random.Random(f"{self.seed}/{arrangement}")
            observed = observe(self.database, landings, rng)
            contents.append(observed)
            for rules, slot in itertools.product(RULES, range(len(landings))):
                self.check(populations[slot], slot, landings[slot], rules,
                           observed[rules][slot], wrong[slot])
        for rules, slot in itertools.product(RULES, range(len(populations))):
            compare_contents(
                rules,
                [observed[rules][slot] for observed in contents],
                wrong[slot]["arrival"])
        return wrong

    def check(self, population, slot, landing, rules, observed, wrong):
        self.check_identity(landing, observed, wrong["identity"])
        self.resolve_pseudonyms(observed, wrong["pseudonym"])
        expected = reference.zones(landing, rules)
        for zone, columns in ZONES.items():
            rows = [as_text(row, columns) for row in expected[zone]]
            wrong[rules] += difference(zone, rows, observed[zone])
            self.rows[rules, zone] += len(rows)
        check_consent(population, slot, landing, rules, observed,
                      wrong["consent"])
        if rules == "strict":
            self.check_wearers(population, slot, landing, observed,
                               wrong["wearer"])
            self.note_kinds(population, slot, landing, expected)

    def resolve_pseudonyms(self, observed, wrong):
        """Put what they stand for in the place of pseudonyms."""
        for zone, pairs in PSEUDONYMS.items():
            columns = ZONES[zone]
            for row in observed[zone]:
                for (value, kind), pseudonym in zip(pairs,
                                                    row[len(columns):]):
                    problem = self.pseudonyms.meet(
                        kind, row[columns.index(value)], pseudonym)
                    if problem:
                        wrong.append(problem)
            observed[zone] = [row[:len(columns)] for row in observed[zone]]
        observed["machine_learning_curated"] = [
            (self.pseudonyms.stands_for("subject", row[0]),
             self.pseudonyms.stands_for("device", row[1])) + row[2:]
            for row in observed["machine_learning_curated"]]

    @staticmethod
    def check_identity(landing, observed, wrong):
        names = {row.name for row in landing.customers}
        keys = {row.email for rows in landing[:2] for row in rows}
        keys |= {row.serial for row in landing.customers + landing.steps}
        keys = {key.casefold() for key in keys if key is not None}
        for row in observed["machine_learning_curated"]:
            for cell in row:
                if (cell in names
                        or any(key in cell.casefold() for key in keys)):
                    wrong.append("training row " + " ".join(row))

    def check_wearers(self, population, slot, landing, observed, wrong):
        """Nobody gets the device of a wearer whose phone matches it best.

        Where other phones match as many moments, only a claim that nobody
        else makes may give the device away; where they match more, or the
        wearer's phone is silent, the rules cannot know the wearer.
        """
        at_of = {row.record_id: row.at for row in landing.steps}
        for row in observed["step_trainer_trusted"]:
            serial, email, at = row[1], row[3], at_of[int(row[4])]
            local = serial.split("-", 1)[1]
            wearer = population.wearer[local]
            if wearer is None:
                continue
            agreed = made.time_of(slot, population.agreed[wearer])
            wearer = made.email_of(slot, wearer)
            if email == wearer or (agreed is not None and at >= agreed):
                continue
            moments = {s.at for s in landing.steps if s.serial == serial}
            read = collections.defaultdict(set)
            for reading in landing.readings:
                if reading.email and reading.at in moments - {None}:
                    read[reading.email].add(reading.at)
            own = len(read.pop(wearer, ()))
            others = max(map(len, read.values()), default=0)
            sole = {c.email for c in landing.customers
                    if c.serial == serial and c.email} == {email}
            if own > others or (own == others > 0 and not sole):
                wrong.append(f"{serial} of {wearer}, who does not share:"
                             f" {' '.join(row)}")
            else:
                self.unprotected += 1

    def note_kinds(self, population, slot, landing, expected):
        kinds = self.kinds
        kinds |= population.kinds
        for row in expected["device_owner"]:
            _, email, basis, _, matched, runner_up = row
            kinds.add({"evidence": "owner by evidence",
                       "claim": "owner by claim",
                       "unresolved": "no owner"}[basis])
            if basis == "claim" and matched == runner_up > 0:
                kinds.add("owner by claim, tied")
            if basis == "evidence" and matched == 3:
                kinds.add("evidence of exactly 3 matches")
            if basis != "evidence" and matched == 2 and runner_up < 2:
                kinds.add("no evidence with 2 matches")
            if basis == "evidence" and matched == 2 * runner_up:
                kinds.add("evidence of exactly twice the runner-up")
            if matched >= 3 and matched == 2 * runner_up - 1:
                kinds.add("no evidence with one match less than twice"
                          " the runner-up")
        for row in landing.readings:
            if row.email is None or row.at is None:
                continue
            agreed = made.time_of(
                slot, population.agreed[row.email.split(".", 1)[1]])
            if agreed is None:
                kinds.add("readings of somebody without consent")
            elif row.at == agreed:
                kinds.add("reading at the moment of consent")
            elif row.at == agreed - 1:
                kinds.add("reading a microsecond before the consent")


def difference(zone, expected, observed):
    """Return lines on the rows that only one of the two bags holds."""
    if sorted(expected) == sorted(observed):
        return []
    expected = collections.Counter(expected)
    observed = collections.Counter(observed)
    return ([f"{zone} lacks {' | '.join(row)}"
             for row in (expected - observed).elements()]
            + [f"{zone} should not hold {' | '.join(row)}"
               for row in (observed - expected).elements()])


def check_consent(population, slot, landing, rules, observed, wrong):
    """Each row is of a person who shares, going by what the person decided."""
    agreed = {made.email_of(slot, email): made.time_of(slot, at)
              for email, at in population.agreed.items()}
    reading_of = {row.record_id: row for row in landing.readings}
    step_of = {row.record_id: row for row in landing.steps}

    def shares(email, at=None):
        if agreed.get(email) is None:
            return False
        return (rules == "published" or at is None) or at >= agreed[email]

    for zone in ("customer_trusted", "customers_curated"):
        wrong += [f"{zone} holds {row[1]}" for row in observed[zone]
                  if not shares(row[1])]
    for row in observed["accelerometer_trusted"]:
        reading = reading_of[int(row[-1])]
        if not shares(reading.email, reading.at):
            wrong.append("accelerometer_trusted holds " + " ".join(row))
    for row in observed["step_trainer_trusted"]:
        if not shares(row[3], step_of[int(row[-1])].at):
            wrong.append("step_trainer_trusted holds " + " ".join(row))
    for row in observed["machine_learning_curated"]:
        reading = reading_of[int(row[-1])]
        step = step_of[int(row[-2])]
        if (not shares(row[0], step.at)
                or not shares(reading.email, reading.at)
                or (rules == "strict" and reading.email != row[0])):
            wrong.append("machine_learning_curated holds " + " ".join(row))


def compare_contents(rules, observed, wrong):
    """Compare the zones of the arrangements, record ids aside."""
    def content(zone, row):
        return tuple(value for column, value in zip(ZONES[zone], row)
                     if column not in RECORD_IDS)

    for zone in ZONES:
        bags = [[content(zone, row) for row in rows[zone]]
                for rows in observed]
        for other in bags[1:]:
            lines = difference(zone, bags[0], other)
            wrong += [f"{rules}, in another order: {line}" for line in lines]


# Cutting down a population that fails

def groups(population, size, whole_records):
    """Return sets of rows, as (table, row), to try to do without.

    size 0: all rows of one email or one serial number; else so many rows.
    whole_records: customer records go by email only.
    """
    tagged = [(table, row) for table, rows in enumerate(population.landing)
              for row in rows]
    if size > 0:
        loose = [pair for pair in tagged if pair[0] > 0 or not whole_records]
        return [set(loose[i:i + size]) for i in range(0, len(loose), size)]
    by_key = collections.defaultdict(set)
    for table, row in tagged:
        by_key[row.serial if table == 2 else row.email].add((table, row))
    return list(by_key.values())


def without(population, gone):
    return population.keep(*([row for row in rows if (table, row) not in gone]
                             for table, rows in enumerate(population.landing)))


def cut_down(checker, population, test):
    """Return the smallest population found that fails the test, and how.

    A round finds out which groups of rows can go, and how many of these
    together; all populations of a step are tried at once.
    """
    def fail(candidates):
        return [bool(wrong[test]) for i in range(0, len(candidates), BATCH)
                for wrong in checker.try_all(candidates[i:i + BATCH])]

    if not any(fail([population])):
        return population, ["it does not fail alone"]
    size = 0
    while True:
        parts = groups(population, size, test in NEED_ALL_RECORDS)
        spare = list(itertools.compress(
            parts, fail([without(population, part) for part in parts])))
        fewer = [without(population, set().union(*spare[:i + 1]))
                 for i in range(len(spare))]
        fewer = list(itertools.compress(fewer, fail(fewer)))
        if fewer:
            population = fewer[-1]
        elif size == 0:
            size = max(1, population.size() // 2)
        elif size > 1:
            size //= 2
        else:
            return population, checker.try_all([population])[0][test]


def show(population):
    """Print the rows of a population and the truth about it, in slot 0."""
    emails, serials = set(), set()
    for arrangement in range(made.ARRANGEMENTS):
        landing = made.place(population, 0, arrangement)
        for rows, (table, columns) in zip(landing, LANDING.items()):
            if rows:
                print(f"#   {table} ({', '.join(columns)}),"
                      f" arrangement {arrangement + 1}:")
            for row in sorted(rows, key=lambda row: row.record_id):
                print("#     " + " | ".join(as_text(row, columns)))
                emails.add(getattr(row, "email", None))
                serials.add(getattr(row, "serial", None))
    for email, at in population.agreed.items():
        if made.email_of(0, email) in emails:
            shares = ("does not share" if at is None
                      else "shares from " + time_text(made.time_of(0, at)))
            print(f"#   {made.email_of(0, email)} {shares}")
    for serial, email in population.wearer.items():
        if made.serial_of(0, serial) in serials:
            print(f"#   {made.serial_of(0, serial)} is worn by:"
                  f" {made.email_of(0, email) or 'nobody'}")


def show_lines(lines):
    for line in lines[:SHOWN]:
        print(f"# {line}")
    if len(lines) > SHOWN:
        print(f"# and {len(lines) - SHOWN} more")


# The run

def run(options):
    numbers = (range(options.populations) if options.only is None
               else [options.only])
    with Scratch(options.database) as database:
        checker = Checker(database, options.seed)
        failed = {}             # test -> population, what is wrong with it
        tried = 0
        for start in range(0, len(numbers), BATCH):
            populations = [made.generate(options.seed, number)
                           for number in numbers[start:start + BATCH]]
            tried += len(populations)
            try:
                results = checker.try_all(populations)
            except BailOut as problem:
                raise BailOut(f"seed {options.seed}, from population"
                              f" {populations[0].number} on: {problem}")
            for population, wrong in zip(populations, results):
                for test, lines in wrong.items():
                    if lines:
                        failed.setdefault(test, (population, lines))
            if failed:
                break               # more of the same would say no more

        print(f"1..{len(TESTS) + 1}")
        for number, (test, name) in enumerate(TESTS.items(), 1):
            print(f"{'not ok' if test in failed else 'ok'} {number} - {name}"
                  f" ({tried} populations)")
            if test in failed:
                population, lines = failed[test]
                print(f"# seed {options.seed}, population {population.number};"
                      f" again: --seed {options.seed}"
                      f" --only {population.number}")
                show_lines(lines)
        missing = KINDS - checker.kinds
        name = f"{len(TESTS) + 1} - every kind of case occurred"
        if tried < ENOUGH_FOR_ALL_KINDS:
            missing = ()
            name += f" # SKIP fewer than {ENOUGH_FOR_ALL_KINDS} populations"
        print(f"{'not ok' if missing else 'ok'} {name}")
        for kind in sorted(missing):
            print(f"# never: {kind}")
        for (rules, zone), rows in checker.rows.items():
            print(f"# {rules} {zone}: {rows} rows expected")
        print(f"# {checker.unprotected} Step Trainer readings of people who"
              " did not share then are attributed to somebody who did: the"
              " wearer's phone was silent, others matched more moments, or"
              " as many and alone claimed the device")
        sys.stdout.flush()

        if failed:
            test, (population, _) = next(iter(failed.items()))
            before = population.size()
            population, lines = cut_down(checker, population, test)
            print(f"# To fail \"{TESTS[test]}\", {population.size()} of the"
                  f" {before} rows of population {population.number} are"
                  " enough:")
            show(population)
            show_lines(lines)
    return not failed and not missing


def main():
    parser = argparse.ArgumentParser(
        description="compare the zones of made-up populations with a"
                    " reference")
    parser.add_argument("--populations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="K",
                        help="try the population of this number alone")
    parser.add_argument("--database", metavar="NAME",
                        help="use this database, with stedi and no landing"
                             " rows in it, and leave the last rows there")
    options = parser.parse_args()
    if options.populations < 1:
        parser.error("--populations must be positive")
    try:
        return 0 if run(options) else 1
    except BailOut as problem:
        print("Bail out! " + str(problem).replace("\n", "\n# "))
        return 1


if __name__ == "__main__":
    sys.exit(main())
