"""What the two peers have in common: sources, rules, stages, checks."""

import json
import os
import re
import sys
import time

KINDS = ["customer", "accelerometer", "step_trainer"]

# Columns of the landing tables: key in the files, name in the tables, SQL type.
COLUMNS = {
    "customer": [
        ("customerName", "customer_name", "STRING"),
        ("email", "email", "STRING"),
        ("phone", "phone", "STRING"),
        ("birthDay", "birth_day", "DATE"),
        ("serialNumber", "serial_number", "STRING"),
        ("registrationDate", "registration_date", "BIGINT"),
        ("lastUpdateDate", "last_update_date", "BIGINT"),
        ("shareWithResearchAsOfDate", "research_date", "BIGINT"),
        ("shareWithPublicAsOfDate", "public_date", "BIGINT"),
        ("shareWithFriendsAsOfDate", "friends_date", "BIGINT")],
    "accelerometer": [
        ("user", "email", "STRING"),
        ("timestamp", "reading_time", "BIGINT"),
        ("x", "x", "DOUBLE"),
        ("y", "y", "DOUBLE"),
        ("z", "z", "DOUBLE")],
    "step_trainer": [
        ("sensorReadingTime", "sensor_reading_time", "BIGINT"),
        ("serialNumber", "serial_number", "STRING"),
        ("distanceFromObject", "distance_from_object", "INTEGER")],
}

# Spelled as stedi spells them.
EXPORT = """SELECT subject AS `subject`, device AS `device`,
    sensor_reading_time AS `sensorReadingTime`,
    distance_from_object AS `distanceFromObject`, x AS `x`, y AS `y`, z AS `z`,
    step_trainer_record_id AS `stepTrainerRecordId`,
    accelerometer_record_id AS `accelerometerRecordId`
FROM machine_learning_curated"""

# What is compared: the columns that all engines must agree on.  Record ids and
# pseudonyms are each engine's own; their number is compared instead.
CHECKS = {
    "customer_landing": ["email", "last_update_date", "research_date"],
    "accelerometer_landing": ["email", "reading_time", "x", "y", "z"],
    "step_trainer_landing": ["sensor_reading_time", "serial_number", "distance_from_object"],
    "customer_trusted": ["email", "last_update_date", "research_date"],
    "accelerometer_trusted": ["email", "reading_time", "x", "y", "z"],
    "customers_curated": ["email", "research_date"],
    "device_owner": ["serial_number", "email", "basis", "claimants", "matched", "runner_up"],
    "step_trainer_trusted": [
        "sensor_reading_time", "serial_number", "distance_from_object", "email"],
    "machine_learning_curated": [
        "sensor_reading_time", "distance_from_object", "x", "y", "z"],
}
FRACTIONS = ("x", "y", "z")


def zones():
    """Return (name, SELECT) of every zone in dependency order."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zones.sql")
    with open(path) as file:
        blocks = re.split(r"^-- table (\w+)$", file.read(), flags=re.M)
    return list(zip(blocks[1::2], blocks[2::2]))


def check_query(table, hashed):
    """Return the query for one table's row count and checksum.

    hashed turns the SQL of a text into that of a 32 bit number.  The fractions
    are compared in thousandths: engines differ in how they print 1.0.
    """
    texts = [f"CAST(CAST(1000 * {c} AS BIGINT) AS VARCHAR(20))" if c in FRACTIONS
             else f"CAST({c} AS VARCHAR(200))" for c in CHECKS[table]]
    row = hashed(f"concat_ws('|', {', '.join(texts)})")
    subjects = ("count(DISTINCT subject), count(DISTINCT device)"
                if table == "machine_learning_curated" else "0, 0")
    return f"SELECT count(*), sum({row}), {subjects} FROM {table}"


class Job:
    """Times stages; the last line of standard output is what was measured."""

    def __init__(self):
        self.landing, self.work = sys.argv[1:3]
        self.checking = sys.argv[3:] == ["check"]
        self.stages, self.checks = [], {}

    def stage(self, name, do):
        started = time.perf_counter()
        result = do()
        self.stages.append((name, time.perf_counter() - started))
        return result

    def check(self, query, hashed):
        """query runs SQL and returns the first row."""
        if self.checking:
            for table in CHECKS:
                self.checks[table] = [int(n) for n in query(check_query(table, hashed))]

    def report(self, version):
        print(json.dumps({"version": version, "stages": self.stages, "checks": self.checks}))
