"""What was measured, as text, as a table and as a picture."""

import datetime
import html
import os
import platform
import statistics

from engines import SETTINGS, Stage

LABELS = {
    "stedi": "stedi", "stedi workers": "stedi, 2 workers", "duckdb": "DuckDB", "spark": "PySpark", "stedi s3": "stedi on S3",
    "curl": "curl", "copy text": "COPY text", "copy binary": "COPY binary",
    "insert select": "COPY lines, INSERT SELECT",
}
WHOLE_JOB = ["stedi", "stedi workers", "duckdb", "spark"]
LOADS = ["copy text", "copy binary", "insert select"]
PHASES = {"ingest": "ingest", "zone": "zones", "zones": "zones", "export": "export", "checkpoint": "export"}
COLOURS = {"ingest": "#3b6ea8", "zones": "#d08a2e", "export": "#5a9a68"}


def total(stages, name):
    """Add stages up to one."""
    def add(values):
        known = [value for value in values if value is not None]
        return sum(known) if known else None
    return Stage(name, *(add(column) for column in list(zip(*stages))[1:]))


def phases(stages):
    """Return the stages of one run, added up to phases, and the whole job."""
    found = {}
    for stage in stages:
        phase = PHASES.get(stage.name.split()[0])
        if phase:
            found.setdefault(phase, []).append(stage)
    if not found:
        return []
    # What goes in and what comes out of the whole job is not to be added up.
    whole = total([stage for part in found.values() for stage in part], "whole job")
    return [total(part, phase) for phase, part in found.items()] + [
        whole._replace(rows=None, size=None)]


def medians(runs):
    """Return stage name -> (median stage, seconds of each run), phases first."""
    by_name = {}
    for run in runs:
        for stage in phases(run.stages) + list(run.stages):
            by_name.setdefault(stage.name, []).append(stage)
    result = {}
    for name, stages in by_name.items():
        seconds = [stage.seconds for stage in stages]
        wal = [stage.wal for stage in stages if stage.wal is not None]
        result[name] = (stages[0]._replace(seconds=statistics.median(seconds),
                                     wal=statistics.median(wal) if wal else None), seconds)
    return result


def per_second(amount, seconds):
    return amount / seconds if amount is not None and seconds > 0 else None


def number(value, unit=1, digits=0):
    return "" if value is None else f"{value / unit:.{digits}f}"


class Scale:
    """The medians of all engines at one scale."""

    def __init__(self, rounds):
        self.engines = {engine: medians(runs) for engine, runs in rounds.runs.items()}
        self.memory, self.cpu = {}, {}
        for engine, runs in rounds.runs.items():
            if all(run.usage for run in runs):
                self.memory[engine] = max(run.usage.peak for run in runs)
                self.cpu[engine] = statistics.median(run.usage.cpu for run in runs)
        self.records = sum(rounds.expected[f"{kind}_landing"][0]
                           for kind in ("customer", "accelerometer", "step_trainer"))

    def stage(self, engine, name):
        return self.engines[engine][name][0]

    def seconds(self, engine, name):
        found = self.engines[engine].get(name)
        return found[0].seconds if found else None

    def having(self, engines):
        return [engine for engine in engines if engine in self.engines]


def table(title, header, rows):
    """Print aligned columns; the first is text."""
    cells = [header] + rows
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        print("  " + "  ".join([row[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip())


def print_whole_job(scale, name, engines, reference):
    base = scale.seconds(reference, "whole job")
    rows = []
    for engine in engines:
        job = scale.stage(engine, "whole job")
        rows.append([LABELS[engine],
                     *(number(scale.seconds(engine, phase), digits=2) for phase in COLOURS),
                     number(job.seconds, digits=2), number(job.seconds / base, digits=2),
                     number(scale.cpu[engine], digits=2), number(scale.memory[engine], 1e6),
                     number(job.wal, 1e6)])
    table(f"{name}: seconds, as a multiple of {LABELS[reference]}; seconds of CPU, with the start"
          " of the process;\n  peak private memory and WAL in MB",
          ["", *COLOURS, "whole job", "ratio", "CPU", "memory", "WAL"], rows)


def print_loads(scale):
    rows = []
    ours = scale.stage("stedi", "ingest accelerometer")
    for engine, stages in [("stedi", [ours])] + [
            (engine, [stage for stage, _ in scale.engines[engine].values()])
            for engine in scale.having(LOADS)]:
        seconds = sum(stage.seconds for stage in stages)
        size = stages[0].size
        rows.append([LABELS[engine], number(seconds, digits=2),
                     number(seconds / ours.seconds, digits=2),
                     number(per_second(ours.rows, seconds), 1e3),
                     number(per_second(size, seconds), 1e6),
                     number(total(stages, "").wal, 1e6)])
    table("Accelerometer readings into a logged table",
          ["", "seconds", "ratio", "1000 rows/s", "MB/s read", "WAL MB"], rows)


def print_s3(n, scale):
    rows = []
    for engine, name in (("curl", "get"), ("stedi s3", "ingest"), ("stedi", "ingest"),
                         ("curl", "put"), ("stedi s3", "export"), ("stedi", "export")):
        stage = scale.stage(engine, name)
        rows.append([f"{LABELS[engine]}, {name}", number(stage.seconds, digits=2),
                     number(per_second(stage.size, stage.seconds), 1e6)])
    table(f"A local S3 server at x{n}: curl moves the same bytes and does nothing else",
          ["", "seconds", "MB/s"], rows)


def print_profile(scale, engine):
    whole = scale.seconds(engine, "whole job")
    rows = [[name, number(stage.seconds, digits=3), f"{100 * stage.seconds / whole:.0f} %",
             number(per_second(stage.rows, stage.seconds), 1e3),
             number(per_second(stage.size, stage.seconds), 1e6), number(stage.wal, 1e6)]
            for name, (stage, _) in scale.engines[engine].items()
            if name not in (*COLOURS, "whole job", "start")]
    table(f"Where the time of {LABELS[engine]} goes",
          ["", "seconds", "share", "1000 rows/s", "MB/s", "WAL MB"], rows)


def print_growth(scales):
    largest = scales[max(scales)]
    rows = [[LABELS[engine]] + [
        number(scale.seconds(engine, "whole job") / scale.records, 1e-6, 2)
        for scale in scales.values()] for engine in largest.having(WHOLE_JOB)]
    table("Whole job, microseconds per landing record", ["", *(f"x{n}" for n in scales)], rows)


def machine():
    def value_of(path, key):
        with open(path) as file:
            for line in file:
                if line.startswith(key):
                    return line.partition(":")[2].strip()
        return "unknown"
    memory = int(value_of("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    return (f"{value_of('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores,"
            f" {memory:.0f} GB RAM, Linux {platform.release()}")


LOAD_AT_START = os.getloadavg()[0]


def describe(results, missing, versions):
    """Return the lines that say what the figures hold for."""
    counts = {}
    for rounds in results.values():
        for engine, runs in rounds.runs.items():
            counts.setdefault(engine, set()).add(len(runs))
    lines = [
        f"date: {datetime.date.today()}",
        f"machine: {machine()}",
        f"load average before: {LOAD_AT_START:.1f}",
        "versions: " + ", ".join(versions.values()),
        "PostgreSQL: " + ", ".join(f"{name} {value}" for name, value in SETTINGS.items()),
        "runs: " + ", ".join(f"{LABELS[engine]} {'/'.join(map(str, sorted(count)))}"
                             for engine, count in counts.items()),
    ]
    return lines + [f"missing: {peer}: {why}" for peer, why in missing.items()]


def write_table(path, lines, scales):
    columns = ["scale", "engine", "stage", "median_s", "min_s", "max_s", "rows", "bytes",
               "rows_per_s", "mb_per_s", "wal_bytes", "run_cpu_s", "run_peak_memory_bytes"]
    with open(path, "w") as file:
        file.writelines(f"# {line}\n" for line in lines)
        file.write("\t".join(columns) + "\n")
        for n, scale in scales.items():
            for engine, stages in scale.engines.items():
                for name, (stage, seconds) in stages.items():
                    file.write("\t".join([
                        str(n), LABELS[engine], name, number(stage.seconds, digits=3),
                        number(min(seconds), digits=3), number(max(seconds), digits=3),
                        number(stage.rows), number(stage.size),
                        number(per_second(stage.rows, stage.seconds)),
                        number(per_second(stage.size, stage.seconds), 1e6, 1),
                        number(stage.wal), number(scale.cpu.get(engine), digits=2),
                        number(scale.memory.get(engine))]) + "\n")


def write_picture(path, n, scale):
    """Draw the whole job as one bar of phases for each engine."""
    left, width, bar, gap, top = 130, 480, 26, 14, 58
    engines = scale.having(WHOLE_JOB)
    longest = max(scale.seconds(engine, "whole job") for engine in engines)
    height = top + len(engines) * (bar + gap) + 30
    parts = []
    x = left
    for phase, colour in COLOURS.items():
        parts.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{x + 18}" y="44">{phase}</text>')
        x += 90
    for i, engine in enumerate(engines):
        x, y = left, top + i * (bar + gap)
        parts.append(f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">'
                     f'{LABELS[engine]}</text>')
        for phase, colour in COLOURS.items():
            seconds = scale.seconds(engine, phase)
            if seconds:
                size = seconds / longest * width
                parts.append(f'<rect x="{x:.1f}" y="{y}" width="{size:.1f}" height="{bar}"'
                             f' fill="{colour}">'
                             f'<title>{LABELS[engine]}, {phase}: {seconds:.2f} s</title></rect>')
                x += size
        whole = scale.seconds(engine, "whole job")
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 18}">{whole:.1f} s</text>')
    body = "\n".join(parts)
    title = f"The whole job at x{n}, {scale.records / 1e6:.1f} million records: seconds"
    foot = html.escape(f"{machine()}; {datetime.date.today()}")
    with open(path, "w") as file:
        file.write(f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" \
font-family="sans-serif" font-size="13" fill="#222">
<rect width="700" height="{height}" fill="#fff"/>
<text x="{left}" y="22" font-size="15">{title}</text>
{body}
<text x="{left}" y="{height - 12}" font-size="11" fill="#666">{foot}</text>
</svg>
""")


def write(results, missing, versions, folder):
    scales = {n: Scale(rounds) for n, rounds in results.items()}
    n = max(scales)
    scale = scales[n]
    lines = describe(results, missing, versions)
    print("\nRows and checksums of all tables and of the exports agree at every scale.\n")
    print("\n".join(lines))
    print_whole_job(scale, f"The whole job at x{n}, {scale.records:,} records",
                    scale.having(WHOLE_JOB + ["stedi s3"]), "stedi")
    print_loads(scale)
    for served in scales:
        if "curl" in scales[served].engines:
            print_s3(served, scales[served])
    for engine in scale.having(WHOLE_JOB):
        print_profile(scale, engine)
    print_growth(scales)
    os.makedirs(folder, exist_ok=True)
    write_table(os.path.join(folder, "results.tsv"), lines, scales)
    write_picture(os.path.join(folder, "whole-job.svg"), n, scale)
    print(f"\nwritten to {folder}: results.tsv, whole-job.svg")
