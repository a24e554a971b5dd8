"""The zones, computed the slow and obvious way.

Plain loops over the landing rows of one population, one function per zone, in
the words of the rules and in none of the ways a database would do it.  Emails
and serial numbers are equal when they are spelled alike.
"""

import collections

MIN_MATCHES = 3
MIN_RATIO = 2
MIN_CLAIM_MATCHES = 0
SAMPLE_SIZE = 64

Owner = collections.namedtuple(
    "Owner", "serial email basis claimants matched runner_up")


def zones(landing, rules):
    """Return name -> list of rows (tuples), of the zones under these rules."""
    strict = rules == "strict"
    trusted = customer_trusted(landing)
    readings = accelerometer_trusted(landing, trusted, strict)
    curated = customers_curated(trusted, readings)
    owners = device_owner(landing)
    if strict:
        steps = steps_of_owners(landing, owners, curated)
    else:
        steps = steps_as_claimed(landing, curated)
    return {
        "customer_trusted": [tuple(row) for row in trusted],
        "accelerometer_trusted": [tuple(row) for row in readings],
        "customers_curated": [tuple(row) for row in curated],
        "device_owner": [tuple(row) for row in owners],
        "step_trainer_trusted": [
            (step.at, step.serial, step.distance, email, step.record_id)
            for step, email in steps],
        "step_trainer_unattributed": unattributed(landing, owners),
        "machine_learning_curated": training_rows(steps, readings, strict),
    }


# Zone 1

def customer_trusted(landing):
    governing = {}
    for row in landing.customers:
        if row.email is None:
            continue
        if row.email not in governing or outranks(row, governing[row.email]):
            governing[row.email] = row
    return [row for row in governing.values() if row.research is not None]


def outranks(row, other):
    """Does this record of a customer govern rather than the other?"""
    if row.updated != other.updated:
        if row.updated is None:
            return False
        return other.updated is None or row.updated > other.updated
    if row.research != other.research:
        if row.research is None:
            return True
        return other.research is not None and row.research > other.research
    for mine, theirs in ((row.registered, other.registered),
                         (row.serial, other.serial), (row.name, other.name),
                         (row.phone, other.phone),
                         (row.birth_day, other.birth_day),
                         (row.public, other.public),
                         (row.friends, other.friends)):
        if mine != theirs:
            return mine is None or (theirs is not None and mine > theirs)
    return row.record_id > other.record_id


# Zones 2 and 3

def accelerometer_trusted(landing, trusted, strict):
    kept = []
    for row in landing.readings:
        for customer in trusted:
            if customer.email != row.email:
                continue
            if not strict or shares_at(customer, row.at):
                kept.append(row)
    return kept


def shares_at(customer, at):
    return at is not None and at >= customer.research


def customers_curated(trusted, readings):
    return [customer for customer in trusted
            if any(row.email == customer.email for row in readings)]


# Whose device is it?

def device_owner(landing):
    owners = []
    serials = []
    for step in landing.steps:
        if step.serial is not None and step.serial not in serials:
            serials.append(step.serial)
    for serial in serials:
        owners.append(owner_of(serial, landing))
    return owners


def owner_of(serial, landing):
    matched = matches(serial, landing)
    ranking = sorted(matched.values(), reverse=True) + [0, 0]
    best, runner_up = ranking[0], ranking[1]
    claimants = []
    for row in landing.customers:
        if (row.serial == serial and row.email is not None
                and row.email not in claimants):
            claimants.append(row.email)

    email, basis = None, "unresolved"
    if (best >= MIN_MATCHES and best >= MIN_RATIO * runner_up
            and best > runner_up):
        basis = "evidence"
        for candidate in matched:
            if matched[candidate] == best:
                email = candidate
    elif (len(claimants) == 1 and matched.get(claimants[0], 0) >= best
          and matched.get(claimants[0], 0) >= MIN_CLAIM_MATCHES):
        basis = "claim"
        email = claimants[0]
    return Owner(serial, email, basis, len(claimants), best, runner_up)


def matches(serial, landing):
    """Return email -> at how many moments of the device its phone read."""
    moments = set()
    for step in landing.steps:
        if step.serial == serial and step.at is not None:
            moments.add(step.at)
    coinciding = set()
    matched = {}
    for at in moments:
        seen = set()
        for row in landing.readings:
            if row.at == at and row.email is not None:
                seen.add(row.email)
                coinciding.add(at)
        for email in seen:
            matched[email] = matched.get(email, 0) + 1
    # Beyond this the zones may look at a sample only.
    assert len(coinciding) <= SAMPLE_SIZE
    return matched


# Zone 4: pairs of a Step Trainer reading and the email it is attributed to

def steps_of_owners(landing, owners, curated):
    kept = []
    for step in landing.steps:
        for owner in owners:
            if owner.email is None or owner.serial != step.serial:
                continue
            for customer in curated:
                if (customer.email == owner.email
                        and shares_at(customer, step.at)):
                    kept.append((step, customer.email))
    return kept


def steps_as_claimed(landing, curated):
    kept = []
    for step in landing.steps:
        for customer in curated:
            if step.serial is not None and customer.serial == step.serial:
                kept.append((step, customer.email))
    return kept


def unattributed(landing, owners):
    attributed = [owner.serial for owner in owners if owner.email is not None]
    return [tuple(step) for step in landing.steps
            if step.serial not in attributed]


# Zone 5: email and serial number stand where the zone has pseudonyms

def training_rows(steps, readings, strict):
    rows = []
    for step, email in steps:
        for row in readings:
            if step.at is None or row.at != step.at:
                continue
            if strict and row.email != email:
                continue
            rows.append((email, step.serial, step.at, step.distance,
                         row.x, row.y, row.z, step.record_id, row.record_id))
    return rows
