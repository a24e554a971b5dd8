"""Made-up populations for the zones to get wrong.

A population is a handful of people with consent histories, phones and devices,
and the landing rows they leave.  It is small, so that thousands can be tried,
and adversarial: whatever the fulfilment, the clocks or the order of arrival
can do to tempt a zone into giving a row to the wrong person happens often.

What somebody agreed to and who wears which device is kept beside the rows, as
it was decided when the rows were made.  It is not computed from them.

Times are microseconds after the start of the population's own day, or an
infinity; place() gives a population its own day, emails and serial numbers, so
that many of them fit into one set of landing tables.
"""

import collections
import random

INFINITY = float("inf")
MICROSECOND, MILLISECOND, SECOND = 1, 1000, 1000000
DAY = 86400 * SECOND
FIRST_DAY = 18993 * DAY             # 2022-01-01, after the epoch
ARRANGEMENTS = 2
OBJECTS = 64                        # at most, per population

Customer = collections.namedtuple(
    "Customer", "name email phone birth_day serial registered updated research"
                " public friends record_id")
Reading = collections.namedtuple("Reading", "email at x y z record_id")
Step = collections.namedtuple("Step", "at serial distance record_id")
Landing = collections.namedtuple("Landing", "customers readings steps")

NAMES = ("Ada", "Bo", "Cleo", "Dag", "Eske", "Fia", "Gro", "Hauk", "Ida",
         "Jun", "Kai", "Liv")

# What a customer does about consent.  "twins" are records of the same date and
# consent that differ in the rest; "backdated": the newer consent is earlier.
HISTORIES = ("early", "late", "late", "late", "never", "never", "withdrawn",
             "withdrawn", "reconsented", "tied_with_none", "tied_with_later",
             "undated", "undated_and_dated", "backdated", "twins", "forever",
             "not_yet", "updated_at_infinity", "unregistered")

# Which of somebody's moments a phone or a device takes readings at.
COVERAGE = ("all", "all", "all", "most", "half", "two", "three", "one", "none")


class Population:
    """Landing rows, and the truth about the people who left them.

    agreed   email -> moment from which the person shares, None: does not
    wearer   serial number -> email of who wears the device, None: nobody
    kinds    names of what occurs in it
    """

    def __init__(self, number, landing, agreed, wearer, kinds):
        self.number = number
        self.landing = landing
        self.agreed = agreed
        self.wearer = wearer
        self.kinds = kinds

    def keep(self, customers, readings, steps):
        """Return a population of only these rows, the truth unchanged."""
        return Population(self.number, Landing(customers, readings, steps),
                          self.agreed, self.wearer, self.kinds)

    def size(self):
        return sum(len(rows) for rows in self.landing)


def email_of(slot, email):
    return None if email is None else f"{slot}.{email}"


def serial_of(slot, serial):
    return None if serial is None else f"{slot}-{serial}"


def time_of(slot, at):
    if at is None or at in (INFINITY, -INFINITY):
        return at
    assert 0 <= at < DAY
    return FIRST_DAY + slot * DAY + at


def place(population, slot, arrangement):
    """Return the landing rows as they lie in the tables.

    No two slots share an email (in any case), a serial number, a moment or an
    object.  Infinite times are only ever dates in customer records, which are
    compared with no other customer's.
    """
    def record_id(row):
        number, record_no = row.record_id[arrangement]
        return ((slot * OBJECTS + number + 1) << 32) + record_no

    return Landing(
        [Customer(row.name, email_of(slot, row.email), row.phone,
                  row.birth_day, serial_of(slot, row.serial),
                  *(time_of(slot, at) for at in row[5:10]), record_id(row))
         for row in population.landing.customers],
        [Reading(email_of(slot, row.email), time_of(slot, row.at),
                 row.x, row.y, row.z, record_id(row))
         for row in population.landing.readings],
        [Step(time_of(slot, row.at), serial_of(slot, row.serial),
              row.distance, record_id(row))
         for row in population.landing.steps])


def generate(seed, number):
    """Return the population of this number; the same for the same seed."""
    return Maker(random.Random(f"{seed}/{number}"), number).population()


class Maker:
    """Makes up one population, person by person."""

    def __init__(self, rng, number):
        self.rng = rng
        self.number = number
        self.kinds = set()
        self.agreed = {}
        self.wearer = {}
        self.moments = {}           # email -> when the person exercises
        self.customers = []
        self.readings = []
        self.steps = []

    def population(self):
        for i in range(self.rng.randint(3, 12)):
            self.exercise(i, self.new_email(i))
        for email in self.moments:
            self.wear(email)
        self.ownerless_devices()
        self.claims()
        self.collisions()
        self.damage()
        landing = Landing(arrange(self.rng, self.customers),
                          arrange(self.rng, self.readings),
                          arrange(self.rng, self.steps))
        return Population(self.number, landing, self.agreed, self.wearer,
                          self.kinds)

    def chance(self, probability):
        return self.rng.random() < probability

    def new_email(self, i):
        if self.moments and self.chance(0.1):
            other = self.rng.choice(list(self.moments))
            spelling = self.rng.choice((str.swapcase, str.upper,
                                        lambda email: email + " "))(other)
            if spelling not in self.moments:
                self.kinds.add("email in another spelling")
                return spelling
        return f"{NAMES[i]}{i}@example.com"

    def new_moments(self, count):
        """Moments of one bout of exercise: milliseconds, as phones send."""
        start = self.rng.randrange(3600, 80000) * SECOND
        return [start + i * 1500 * MILLISECOND + self.rng.randrange(900)
                * MILLISECOND for i in range(count)]

    def exercise(self, i, email):
        moments = self.new_moments(self.rng.randint(1, 8))
        if self.moments and self.chance(0.4):
            # In step with somebody: half to all of the moments coincide.
            partner = self.moments[self.rng.choice(list(self.moments))]
            share = self.rng.choice((0.5, 0.5, 0.6, 0.75, 0.9, 1))
            common = self.rng.sample(partner, round(share * len(partner)))
            moments = moments[:len(partner) - len(common)] + common
            self.kinds.add("in step")
        self.moments[email] = sorted(set(moments))
        taken = self.covered(self.moments[email])
        for at in taken:
            self.read(email, at)
            if self.chance(0.15):   # another reading of the same moment
                self.read(email, at)
        self.consent(email)

    def read(self, email, at):
        self.readings.append(Reading(email, at, self.rng.randint(-9, 9),
                                     self.rng.choice((None, 0, 0.5, -1.25)),
                                     self.rng.randint(-9, 9), None))

    def covered(self, moments):
        coverage = self.rng.choice(COVERAGE)
        count = {"all": len(moments), "most": len(moments) * 3 // 4,
                 "half": len(moments) // 2, "three": 3, "two": 2, "one": 1,
                 "none": 0}[coverage]
        return self.rng.sample(moments, min(count, len(moments)))

    # Consent

    def consent(self, email):
        """Decide what the person agrees to, and write the records of it."""
        history = self.rng.choice(HISTORIES)
        moments = self.moments[email]
        early = moments[0] - self.rng.choice((MICROSECOND, SECOND))
        late = (self.rng.choice(moments)
                + self.rng.choice((-MICROSECOND, 0, 0, MICROSECOND)))
        first, second, third = sorted(self.rng.sample(range(3000), 3))
        first, second, third = (t * SECOND for t in (first, second, third))
        agreed, records = {
            "early": (early, [(first, early)]),
            "late": (late, [(first, late)]),
            "never": (None, [(first, None), (second, None)]),
            "withdrawn": (None, [(first, early), (second, None)]),
            "reconsented": (late, [(first, early), (second, None),
                                   (third, late)]),
            "tied_with_none": (None, [(second, early), (second, None),
                                      (first, early)]),
            "tied_with_later": (late, [(first, early), (first, late)]),
            "undated": (late, [(None, late)]),
            "undated_and_dated": self.rng.choice((
                (None, [(None, early), (first, None)]),
                (late, [(None, None), (first, late)]))),
            "backdated": (early, [(first, late), (second, early)]),
            "twins": (late, [(first, late), (first, late)]),
            "forever": (-INFINITY, [(first, -INFINITY)]),
            "not_yet": (INFINITY, [(first, INFINITY)]),
            "updated_at_infinity": self.rng.choice((
                (None, [(first, early), (INFINITY, None)]),
                (late, [(-INFINITY, None), (first, late)]))),
            "unregistered": (None, []),
        }[history]
        if history == "tied_with_later" and early > late:
            agreed = early
        self.agreed[email] = agreed
        self.kinds.add(history)
        for updated, research in records:
            self.customers.append(Customer(
                email.split("@")[0].title(), email,
                self.rng.choice((None, "5550100", "5550199")),
                self.rng.choice((None, "0971-01-01", "1999-12-31")),
                None,               # claimed later, see claims()
                self.rng.choice((None, first)), updated, research,
                self.rng.choice((None, first)),
                self.rng.choice((None, second)), None))

    # Devices

    def wear(self, email):
        for _ in range(self.rng.choice((0, 1, 1, 1, 1, 2))):
            serial = self.new_serial()
            self.wearer[serial] = email
            self.report(serial, self.covered(self.moments[email]))

    def ownerless_devices(self):
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            serial = self.new_serial()
            self.wearer[serial] = None
            if self.chance(0.5):
                others = self.moments[self.rng.choice(list(self.moments))]
                self.report(serial, self.covered(others))
            else:
                self.report(serial, self.new_moments(3))
            self.kinds.add("device that nobody wears")

    def new_serial(self):
        if self.wearer and self.chance(0.05):
            spelling = self.rng.choice(list(self.wearer)).swapcase()
            if spelling not in self.wearer:
                return spelling
        return f"serial{len(self.wearer)}"

    def report(self, serial, moments):
        for at in moments:
            self.steps.append(Step(at, serial, self.rng.randint(0, 250), None))
        if self.chance(0.2):        # while no phone was about
            for at in self.new_moments(2):
                self.steps.append(Step(at, serial, 7, None))

    def claims(self):
        """Let the fulfilment put serial numbers into the records.

        Every record of a customer may carry another one.  The repeated one is
        somebody's true serial number or nobody's.
        """
        devices = list(self.wearer) + ["serial99"]
        repeated = self.rng.choice(devices)
        defect = self.rng.choice((0, 0.3, 0.9))
        secretive = [serial for serial, email in self.wearer.items()
                     if email and self.agreed[email] is None]
        for i, row in enumerate(self.customers):
            own = [s for s, email in self.wearer.items() if email == row.email]
            kind = self.rng.random()
            if self.chance(defect):
                serial = repeated
                self.kinds.add("repeated serial number")
            elif kind < 0.45 and own:
                serial = self.rng.choice(own)
            elif kind < 0.65 and secretive:
                serial = self.rng.choice(secretive)
                if (self.wearer[serial] != row.email
                        and self.agreed[row.email] is not None):
                    self.kinds.add("claim to a device of somebody who does"
                                   " not share")
            elif kind < 0.85:
                serial = self.rng.choice(devices)
            else:
                serial = None
            self.customers[i] = row._replace(serial=serial)

    # Accidents

    def collisions(self):
        """Other phones read at somebody's moments, or next to them."""
        emails = list(self.moments)
        for _ in range(self.rng.choice((0, 0, 1, 3, 6))):
            at = self.rng.choice(self.moments[self.rng.choice(emails)])
            for email in self.rng.sample(emails, self.rng.randint(1, 3)):
                if self.chance(0.7):
                    self.read(email, at)
                    self.kinds.add("clock collision")
                else:
                    self.read(email, at + self.rng.choice(
                        (-MILLISECOND, -MICROSECOND, MICROSECOND)))
                    self.kinds.add("near miss")

    def damage(self):
        """Missing values, exact duplicates, a phone that nobody registered."""
        for rows in (self.customers, self.readings, self.steps):
            for row in self.rng.sample(rows, min(len(rows), 2)):
                if self.chance(0.2):
                    rows.append(row)
                    self.kinds.add("exact duplicate")
        if self.chance(0.3) and self.readings:
            row = self.rng.choice(self.readings)
            self.readings += [row._replace(email=None), row._replace(at=None)]
            self.kinds.add("missing value")
        if self.chance(0.3) and self.steps:
            row = self.rng.choice(self.steps)
            self.steps += [row._replace(serial=None), row._replace(at=None),
                           Step(None, None, None, None)]
        if self.chance(0.2) and self.customers:
            row = self.rng.choice(self.customers)
            self.customers.append(row._replace(email=None))


def arrange(rng, rows):
    """Let the rows arrive: in some order, spread over some objects."""
    places = [[None] * ARRANGEMENTS for _ in rows]
    for arrangement in range(ARRANGEMENTS):
        order = rng.sample(range(len(rows)), len(rows))
        objects = rng.sample(range(OBJECTS), rng.choice((1, 2, 5, 20)))
        filled = dict.fromkeys(objects, 0)
        for i in order:
            number = rng.choice(objects)
            filled[number] += 1
            places[i][arrangement] = (number, filled[number])
    return [row._replace(record_id=tuple(p)) for row, p in zip(rows, places)]
