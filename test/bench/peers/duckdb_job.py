"""The whole job in DuckDB: NDJSON to tables, zones, NDJSON.

    duckdb_job.py LANDING WORK [check]

A database file, made durable by a CHECKPOINT that counts as a stage; two
threads; otherwise DuckDB's defaults, but for the order of rows, which is
nobody's business here and costs it time.
"""

import os

import duckdb

import job


def landing_table(kind, folder):
    types = ", ".join(f"'{key}': '{sql_type}'" for key, _, sql_type in job.COLUMNS[kind])
    names = ", ".join(f'"{key}" AS {name}' for key, name, _ in job.COLUMNS[kind])
    # A table's rowid is DuckDB's record id, and costs nothing.
    return f"""
        CREATE TABLE {kind} AS SELECT {names} FROM read_json(
            '{folder}/{kind}/landing/*.json', format = 'newline_delimited', columns = {{{types}}});
        CREATE VIEW {kind}_landing AS SELECT *, rowid AS record_id FROM {kind}"""


def main():
    run = job.Job()
    database = duckdb.connect(os.path.join(run.work, "lake.duckdb"))
    database.execute("SET threads = 2; SET preserve_insertion_order = false")
    for kind in job.KINDS:
        run.stage(f"ingest {kind}", lambda: database.execute(landing_table(kind, run.landing)))
    for name, select in job.zones():
        run.stage(f"zone {name}", lambda: database.execute(
            f"CREATE TABLE {name} AS {select}"))
    export = job.EXPORT.replace("`", '"')
    run.stage("export files", lambda: database.execute(
        f"COPY ({export}) TO '{run.work}/export' (FORMAT json, PER_THREAD_OUTPUT true)"))
    run.stage("checkpoint", lambda: database.execute("CHECKPOINT"))
    run.check(lambda sql: database.execute(sql).fetchone(),
              lambda text: f"('0x' || substr(md5({text}), 1, 8))::BIGINT")
    run.report(f"DuckDB {duckdb.__version__}")


if __name__ == "__main__":
    main()
