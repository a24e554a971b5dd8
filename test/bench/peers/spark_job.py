"""The whole job in Spark, as the public Glue jobs do it.

    spark_job.py LANDING WORK [check]

Every zone is a job of its own that reads JSON, joins in Spark SQL, and writes
JSON for the next one.  local[2], 4 GB, the schemas given as a Glue catalog
would give them, as many shuffle partitions as pay off here.
"""

import os

import pyspark
from pyspark.sql import SparkSession

import job


def schema(kind):
    return ", ".join(f"`{key}` {sql_type}" for key, _, sql_type in job.COLUMNS[kind])


def main():
    run = job.Job()
    spark = run.stage("start", lambda: (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.local.dir", os.path.join(run.work, "spark"))
        .getOrCreate()))
    spark.sparkContext.setLogLevel("ERROR")

    for kind in job.KINDS:
        names = ", ".join(f"`{key}` AS {name}" for key, name, _ in job.COLUMNS[kind])
        (spark.read.schema(schema(kind)).json(f"{run.landing}/{kind}/landing")
         .selectExpr(*names.split(", "), "monotonically_increasing_id() AS record_id")
         .createOrReplaceTempView(f"{kind}_landing"))

    def zone(name, select):
        path = os.path.join(run.work, name)
        rows = spark.sql(select)
        rows.write.json(path)
        spark.read.schema(rows.schema).json(path).createOrReplaceTempView(name)

    for name, select in job.zones():
        run.stage(f"zone {name}", lambda: zone(name, select))
    run.stage("export files",
              lambda: spark.sql(job.EXPORT).write.json(os.path.join(run.work, "export")))
    run.check(lambda sql: spark.sql(sql).first(),
              lambda text: f"CAST(conv(substr(md5({text}), 1, 8), 16, 10) AS BIGINT)")
    run.report(f"PySpark {pyspark.__version__}")


if __name__ == "__main__":
    main()
