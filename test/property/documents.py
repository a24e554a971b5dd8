"""Property test of the JSON reader: documents and values against PostgreSQL's
own jsonb, and numbers against Python.

    python3 test/property/documents.py [--documents N] [--numbers N] [--seed S]

Needs a server on this machine with stedi installed (PGHOST and so on in the
environment), the right to create a database, and a TMPDIR that the server can
read.  Prints TAP.

Documents are made up and then damaged: bytes changed, parts cut out, doubled
and exchanged.  Each is an object of its own, read by stedi.read_json() and
loaded by stedi.load(); the same bytes are cast to jsonb.  What only one of the
two takes, and what they take for different values, must be one of CLASSES,
which says why; each class has to occur.

Values are single records with one key, for one column each.
"""

import argparse
import collections
import decimal
import json
import os
import random
import re
import shutil
import struct
import sys
import tempfile
from fractions import Fraction

sys.dont_write_bytecode = True

from zones import BailOut, Scratch, psql  # noqa: E402

CLASSES = {
    "several records": "jsonb is one value; an object of the lake holds any"
                       " number of records, and what may stand between them",
    "no object": "jsonb takes a number, string, null or an array of them at"
                 " the top; a record is an object",
    "nesting": "the reader stops at 512 levels, jsonb where the stack ends",
    "left out": "jsonb looks at every value; what no column asks for is only"
                " checked to be JSON, so \\u0000 and 1e999999 pass there",
}
SHOWN = 10
MAX_DEPTH = 512
# Microseconds since 1970: where the type begins, and where 64 bits end.
TIMES = (-210866803200000000, 2**63)


# Documents

# What is JSON, and what is not or cannot be stored.
WORDS = ["a", "b", "A", "_a", "x", "serialNumber", "", "\u00e9", "\U0001f600",
         "\\u0061", "k\\n"]
BAD_WORDS = ["a\\u0000", "\t", "\\ud800"]
NUMBERS = ["0", "-0", "1", "-1", "42", "1.5", "-0.0", "1e3", "1E+5", "2e-7",
           "1e400", "-1e400", "1e-400", "9007199254740993",
           "9223372036854775807", "9223372036854775808",
           "-9223372036854775809", "123456789012345678901234567890",
           "0.1000000000000000055511151231257827", "1e131071"]
BAD_NUMBERS = ["01", "1.", ".5", "+1", "-", "1e", "1e131072", "NaN",
               "Infinity", "0x10", "1_000", "00", "-01", "1.e5"]
STRINGS = ["", "x", "Ada Lind", "\\\"", "\\\\", "\\/", "\\b\\f\\n\\r\\t",
           "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\uD83D\\uDE00",
           "\u00e9\u20ac\U0001f600", "\x7f", "{}", "},\\n{"]
BAD_STRINGS = ["\\u0000", "\\ud800", "\\udc00", "\\ud800\\u0041", "\\x",
               "\\u12g4", "\\", "\t", "\x01"]
SPACES = ["", " ", "\n", "\t", "\r\n", "  "]
BAD_SPACES = ["\f", "\v", "\u00a0", "/**/"]
TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"{}", b"null",
          b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0",
          b"\n{", b"\\u0000", b"\\ud800", b"//", b"'", b"\xef\xbb\xbf"]


def pick(rng, good, bad):
    return rng.choice(bad if rng.random() < 0.02 else good)


def space(rng):
    return pick(rng, SPACES, BAD_SPACES) if rng.random() < 0.2 else ""


def value_text(rng, depth):
    kind = rng.random()
    if kind < 0.3:
        return pick(rng, NUMBERS, BAD_NUMBERS)
    if kind < 0.6:
        return '"' + pick(rng, STRINGS, BAD_STRINGS) + '"'
    if kind < 0.75 or depth > 4:
        return rng.choice(["true", "false", "null", "null"])
    if kind < 0.85:
        return "[" + ("," + space(rng)).join(
            value_text(rng, depth + 1)
            for _ in range(rng.randrange(4))) + space(rng) + "]"
    return object_text(rng, depth + 1)


def object_text(rng, depth=0):
    members = [
        space(rng) + '"' + pick(rng, WORDS, BAD_WORDS) + '"' + space(rng) + ":"
        + space(rng) + value_text(rng, depth)
        for _ in range(rng.randrange(5))]
    return "{" + ",".join(members) + space(rng) + "}"


def document(rng):
    kind = rng.random()
    if kind < 0.86:
        text = space(rng) + object_text(rng) + space(rng)
    elif kind < 0.92:
        text = rng.choice(["", "", ",", "\n", "["]).join(
            object_text(rng) for _ in range(rng.randrange(2, 5)))
    elif kind < 0.95:
        text = "[" + ",\n".join(
            object_text(rng) for _ in range(rng.randrange(4))) + "]"
    elif kind < 0.97:
        text = value_text(rng, 0)
    else:
        levels = rng.choice([2, 510, 511, 512, 513, 600])
        text = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    data = text.encode()
    if rng.random() < 0.03:
        data = b"\xef\xbb\xbf" + data
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        data = damage(rng, data)
    return data


def damage(rng, data):
    at = rng.randrange(len(data) + 1)
    to = min(len(data), at + rng.randrange(1, 6))
    kind = rng.randrange(7)
    if kind == 0:                               # one bit
        return data[:at] + bytes(
            b ^ (1 << rng.randrange(8)) for b in data[at:at + 1]) \
            + data[at + 1:]
    if kind == 1:                               # cut short
        return data[:at]
    if kind == 2:                               # cut out
        return data[:at] + data[to:]
    if kind == 3:                               # doubled
        return data[:to] + data[at:]
    if kind == 4:
        return data[:at] + rng.choice(TOKENS) + data[at:]
    if kind == 5:
        return data[:at] + rng.choice(TOKENS) + data[at + 1:]
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1:]


def stream(data):
    """The objects of a stream of records, or None if it is not one.

    Python's own decoder, with what it takes beyond RFC 8259 refused.
    """
    def refuse(word):
        raise ValueError(word)

    decoder = json.JSONDecoder(parse_constant=refuse, parse_float=str,
                               parse_int=str)
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
    objects = []
    at = 0
    while True:
        at = re.compile(r"[ \t\r\n,\[\]]*").match(text, at).end()
        if at == len(text):
            return objects
        if text[at] != "{":
            return None
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            return None
        objects.append(value)


def nesting(data):
    """The deepest level of a document that is known to be JSON."""
    plain = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data)
    deepest = depth = 0
    for byte in plain:
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    return deepest


DIRECT = """
CREATE FUNCTION direct(bytes bytea, OUT state text, OUT value jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    value := convert_from(bytes, 'UTF8')::jsonb;
    state := '00000';
EXCEPTION WHEN OTHERS THEN
    state := SQLSTATE;
END $$;
CREATE FUNCTION number(uri text) RETURNS int LANGUAGE sql
    RETURN substring(uri FROM '[0-9]+$')::int;
CREATE TABLE whole (rescued jsonb, record_id bigint);
CREATE TABLE asked (a text, record_id bigint);
"""

COMPARE = """
SET client_min_messages = error;
CREATE TEMP TABLE doc AS
    SELECT number(name) AS n, (direct(pg_read_binary_file('{dir}/' || name))).*
    FROM pg_ls_dir('{dir}') AS name;
CREATE TEMP TABLE seen AS
    SELECT number(uri) AS n, json_agg(value::text ORDER BY record_no) AS values
    FROM stedi.read_json('file://{dir}/', on_error => 'skip') GROUP BY 1;
SELECT count(*) FROM stedi.load('whole', 'file://{dir}/', on_error => 'reject')
\\g /dev/null
SELECT count(*) FROM stedi.load('asked', 'file://{dir}/', on_error => 'reject')
\\g /dev/null
CREATE TEMP TABLE taken AS
    SELECT number(o.uri) AS n,
           json_agg(coalesce(r.rescued, '{{}}')::text ORDER BY record_id) AS values
    FROM whole AS r JOIN stedi.object AS o ON o.object_id = r.record_id >> 32
    GROUP BY 1;
CREATE TEMP TABLE column_a AS
    SELECT number(o.uri) AS n, json_agg(r.a ORDER BY record_id) AS values
    FROM asked AS r JOIN stedi.object AS o ON o.object_id = r.record_id >> 32
    GROUP BY 1;
CREATE TEMP TABLE refused AS
    SELECT DISTINCT ON (target, n) number(o.uri) AS n, o.target,
           r.sqlstate || ': ' || r.message AS why
    FROM stedi.reject AS r JOIN stedi.object AS o USING (object_id)
    ORDER BY target, n, record_no;
SELECT json_build_object(
    'n', n, 'state', state, 'value', value::text,
    'read', coalesce(seen.values, '[]'), 'loaded', coalesce(taken.values, '[]'),
    'asked', coalesce(column_a.values, '[]'),
    'refused', w.why, 'refused_asked', a.why)
FROM doc LEFT JOIN seen USING (n) LEFT JOIN taken USING (n)
    LEFT JOIN column_a USING (n)
    LEFT JOIN (SELECT n, why FROM refused WHERE target = 'whole'::regclass) AS w
        USING (n)
    LEFT JOIN (SELECT n, why FROM refused WHERE target = 'asked'::regclass) AS a
        USING (n);
"""


def judge(data, row):
    """The class of a disagreement, None for none; AssertionError if there is
    no explanation."""
    taken_by_jsonb = row["state"] == "00000"
    top = row["value"][0] if taken_by_jsonb else None
    assert row["read"] == row["loaded"], "read_json and load differ"

    if row["refused"] is None:
        if top != "{":
            return several(data, row)
        assert row["read"] == [row["value"]], "another value"
        check_text(data, row)
        return None

    if not taken_by_jsonb:
        if row["refused_asked"] is not None:
            return None
        # Its bytes are JSON; what jsonb cannot hold is not in column a.
        assert row["refused"][:5] in ("22P05", "22003"), "load takes damage"
        assert stream(data) is not None, "load takes what is no JSON"
        return "left out"

    assert row["refused_asked"] is not None, "refused into one table only"
    if row["refused"].startswith("54000"):
        assert nesting(data) > MAX_DEPTH, "not nested too deeply"
        return "nesting"
    assert top != "{", "refused by the reader alone"
    if top == "[":
        assert any(not isinstance(e, dict) for e in json.loads(row["value"])), \
            "an array of records is refused"
    return "no object"


def several(data, row):
    objects = stream(data)
    assert objects is not None, "taken, but no stream of records"
    assert len(objects) == len(row["read"]), "another number of records"
    return "several records"


def check_text(data, row):
    """Column a has the string that jsonb has, or the number as it stands."""
    members = {key: value for key, value in json.loads(
        row["value"], parse_float=decimal.Decimal, parse_int=decimal.Decimal
    ).items() if key.replace("_", "").lower() == "a"}
    if len(members) > 1:
        return
    value = next(iter(members.values()), None)
    got = row["asked"][0] if row["asked"] else None
    if isinstance(value, bool):
        assert got == str(value).lower(), "another truth value in the column"
    elif isinstance(value, decimal.Decimal):
        assert decimal.Decimal(got) == value, "another number in the column"
        assert got.encode() in data, "not the text of the number"
    elif not isinstance(value, (dict, list)):
        assert got == value, "another string in the column"


def try_documents(database, root, count, rng, report):
    folder = os.path.join(root, "documents")
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    documents = []
    for n in range(count):
        documents.append(document(rng))
        with open(f"{folder}/{n}", "wb") as file:
            file.write(documents[-1])

    psql(database, DIRECT)
    seen = collections.Counter()
    wrong = []
    rows = psql(database, COMPARE.format(dir=folder)).splitlines()
    for line in rows:
        row = json.loads(line)
        data = documents[row["n"]]
        try:
            seen[judge(data, row)] += 1
        except AssertionError as problem:
            wrong.append(f"{problem}: {data!r}: {row}")
        if row["state"] == "00000" and row["refused"] is None:
            seen["taken by both"] += 1
        if row["state"] != "00000" and row["refused"] is not None:
            seen["refused by both"] += 1
    report("jsonb and the reader agree, or it is known why",
           wrong + ([] if len(rows) == count else ["documents are missing"]))
    for name in list(CLASSES) + ["taken by both", "refused by both"]:
        report(f"seen: {name} ({seen[name]} documents)",
               [] if seen[name] else [CLASSES.get(name, "none")])


# Values

def halfway(rng):
    """Exactly between two doubles, or a digit beside that."""
    mantissa = rng.getrandbits(53) | 1 << 53 | 1
    power = rng.randrange(1, 200)
    digits = mantissa * 5**power + rng.choice([0, 0, 1, -1])
    return f"{digits}e-{power}"


def double_text(rng):
    kind = rng.randrange(10)
    if kind < 3:        # a reading of an accelerometer
        return repr(rng.uniform(-20, 20))
    if kind < 4:
        return f"{rng.uniform(-20, 20):.1f}"
    if kind < 6:        # any bits
        value, = struct.unpack("<d", rng.getrandbits(64).to_bytes(8, "little"))
        if value != value or value in (float("inf"), float("-inf")):
            return "-0"
        return "%.*e" % (rng.choice([14, 15, 16, 16, 17, 18]), value)
    if kind < 7:
        return halfway(rng)
    if kind < 8:        # too large, too small, subnormal
        return f"{rng.randrange(1, 10**rng.randrange(1, 25))}" \
               f"e{rng.randrange(-350, 330)}"
    if kind < 9:
        return f"{rng.randrange(10**17)}.{rng.randrange(10**17):017}"
    return str(rng.randrange(-2**66, 2**66))


def expected_double(text):
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return None
    return struct.pack(">d", value).hex()


def whole_text(rng):
    bits = rng.choice([4, 15, 31, 63, 64])
    number = rng.choice([rng.randrange(-2**bits, 2**bits),
                         rng.choice([-1, 1]) * 2**bits + rng.randrange(-1, 2)])
    kind = rng.randrange(8)
    if kind == 0:
        return f"{number}.0"
    if kind == 1:
        return f"{number}." + "0" * rng.randrange(1, 40)
    if kind == 2:
        return f"{number}e{rng.randrange(4)}"
    if kind == 3:
        return f"{number or 1}000e-{rng.randrange(6)}"
    if kind == 4:
        digits = str(abs(number))
        return ("-" if number < 0 else "") + digits[0] + "." \
            + (digits[1:] or "0") + f"E+{len(digits) - 1}"
    if kind == 5:
        return f"{number}.{rng.randrange(100)}"
    return str(number)


def expected_whole(text, bits):
    """The integer's text, or the SQLSTATE."""
    value = Fraction(decimal.Decimal(text))
    if value.denominator != 1:
        # With more digits than any integer has, it may be told either way.
        return "22P02 22003" if abs(value) >= 10**18 else "22P02"
    if not -2**(bits - 1) <= value < 2**(bits - 1):
        return "22003"
    return str(value.numerator)


def time_text(rng):
    millis = rng.choice([
        rng.randrange(1_600_000_000_000, 1_800_000_000_000),
        rng.randrange(-10**15, 10**16), rng.randrange(-10**6, 10**6),
        rng.choice(TIMES) // 1000 + rng.randrange(-1, 2)])
    kind = rng.randrange(6)
    if kind == 0:
        return f"{millis}.{rng.randrange(1000):03}"
    if kind == 1:
        return f"{millis}.{rng.randrange(10**9)}"
    if kind == 2:
        return f"{millis / 1e12:.15f}e12"
    if kind == 3:
        return f"{millis}.0"
    return str(millis)


def is_time(text, got):
    """Is that the time, as microseconds since 1970, or rightly refused?"""
    exact = Fraction(decimal.Decimal(text)) * 1000
    low, high = TIMES
    # What is finer than microseconds is rounded, as a double has it.
    slack = Fraction(1, 2) + abs(exact) / 2**52 if exact.denominator != 1 \
        or "e" in text.lower() else 0
    if got is None:
        return not low + slack <= exact < high - slack
    return low - slack <= exact < high + slack and abs(got - exact) <= slack


def string_text(rng):
    parts = []
    for _ in range(rng.randrange(6)):
        code = rng.choice([rng.randrange(32, 127), rng.randrange(1, 0xd800),
                           rng.randrange(0xe000, 0x110000)])
        kind = rng.randrange(4)
        if kind == 0:
            parts.append(json.dumps(chr(code))[1:-1])
        elif kind == 1:
            parts.append(rng.choice(["\\/", "\\b", "\\f", "\\n", "\\r", "\\t",
                                     "\\\\", "\\\""]))
        elif code >= 32 and chr(code) not in '"\\':
            parts.append(chr(code))
    return '"' + "".join(parts) + '"'


def load_values(database, folder, column, type_, shown, texts):
    """Load one record per text; return what each came to: the column as text,
    or a tuple with the SQLSTATE."""
    path = f"{folder}/{column}.json"
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(f'{{"v":{text}}}\n' for text in texts)
    out = psql(database, f"""
        CREATE TABLE {column} (v {type_}, record_id bigint);
        SELECT count(*) FROM stedi.load('{column}', 'file://{path}',
            on_error => 'reject') \\g /dev/null
        COPY (SELECT record_id & 4294967295, NULL, {shown} FROM {column}
              UNION ALL
              SELECT record_no, sqlstate, NULL FROM stedi.reject
              WHERE object_id = (SELECT max(object_id) FROM stedi.object))
        TO STDOUT;
    """)
    got = [None] * len(texts)
    for line in out.splitlines():
        number, state, value = line.split("\t")
        got[int(number) - 1] = value if state == r"\N" else (state,)
    return got


def try_values(database, root, count, rng, report):
    def compare(name, texts, got, right):
        report(name, [f"{text}: {have}" for text, have in zip(texts, got)
                      if have is None or not right(text, have)])

    texts = [double_text(rng) for _ in range(count)]
    texts += [str(word) for word in ("-0", "-0.0", "0e999999", "5e-324",
                                     "1.7976931348623157e308", "1e400")]
    got = load_values(database, root, "float8", "float8",
                      "encode(float8send(v), 'hex')", texts)
    compare(f"{len(texts)} doubles are those of Python, to the bit", texts, got,
            lambda text, have: have == (expected_double(text) or ("22003",)))

    few = count // 20
    for bits in (16, 32, 64):
        texts = [whole_text(rng) for _ in range(few)]
        got = load_values(database, root, f"int{bits}", f"int{bits // 8}",
                          "v", texts)
        compare(f"integers of {bits} bits are whole and in range", texts, got,
                lambda text, have: have[0] in expected_whole(text, bits)
                if isinstance(have, tuple)
                else have == expected_whole(text, bits))

    texts = [time_text(rng) for _ in range(few)]
    for type_ in ("timestamp", "timestamptz"):
        got = load_values(database, root, type_, type_,
                          "(extract(epoch FROM v) * 1000000)::bigint", texts)
        compare(f"{type_} is that many milliseconds after 1970", texts, got,
                lambda text, have: is_time(text, None) and have == ("22008",)
                if isinstance(have, tuple) else is_time(text, int(have)))

    texts = [string_text(rng) for _ in range(few)]
    got = load_values(database, root, "string", "text",
                      "encode(convert_to(v, 'UTF8'), 'hex')", texts)
    direct = psql(database, f"""
        SELECT encode(convert_to(line::jsonb ->> 'v', 'UTF8'), 'hex')
        FROM regexp_split_to_table(rtrim(pg_read_file('{root}/string.json'),
            E'\\n'), E'\\n') WITH ORDINALITY AS t(line, n) ORDER BY n;
    """).splitlines()
    compare("strings are those of jsonb", list(zip(texts, direct)), got,
            lambda pair, have: have == pair[1])
    compare("strings are those of Python", texts, got,
            lambda text, have: have == json.loads(text).encode().hex())


def run(options):
    rng = random.Random(options.seed)
    results = []

    def report(name, wrong):
        results.append(not wrong)
        print(f"{'ok' if not wrong else 'not ok'} {len(results)} - {name}",
              flush=True)
        for line in wrong[:SHOWN]:
            print("# " + line[:2000].replace("\n", "\n# "))
        if len(wrong) > SHOWN:
            print(f"# and {len(wrong) - SHOWN} more")

    root = os.path.realpath(tempfile.mkdtemp(prefix="stedi-documents-"))
    try:
        os.chmod(root, 0o755)
        with Scratch(None) as database:
            try_documents(database, root, options.documents, rng, report)
            try_values(database, root, options.numbers, rng, report)
    finally:
        shutil.rmtree(root)
    print(f"1..{len(results)}")
    if not all(results):
        print(f"# --seed {options.seed}")
    return all(results)


def main():
    parser = argparse.ArgumentParser(
        description="compare what stedi reads with jsonb and Python")
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--numbers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        return 0 if run(options) else 1
    except BailOut as problem:
        print("Bail out! " + str(problem).replace("\n", "\n# "))
        return 1


if __name__ == "__main__":
    sys.exit(main())
