# stedi: a lakehouse inside PostgreSQL
#
#   make && sudo make install     build and install the extension
#   make demo                     the whole job on a throwaway cluster, sample data
#   make demo LANDING=DIR         the same on landing data of your own
#   make demo LAKE=s3             the same against a local S3 server
#   make demo-shell               psql on what the last demo left
#   make test                     every test; ends with "N passed, N failed"
#   make test SUITES=unit         some: unit regress isolation property bench tap
#                                 tap-swift fuzz memcheck instructions soak
#   make soak SOAK_SECONDS=1800 SEED=7   sessions under random faults, for so long
#   make unit-aarch64             the JSON reader's unit tests for ARM, emulated
#   make analyze                  clang's static analyzer
#   make fuzz                     the fuzzers alone, FUZZ_SECONDS=60 each
#   make bench SCALE=100 RUNS=5   the whole job against DuckDB, Spark and COPY
#   make bench-reader FILE=F      throughput of the JSON reader
#   make instructions-baseline    take the present instruction counts for right

PG_CONFIG ?= pg_config

EXTENSION = stedi
MODULE_big = stedi
DATA_built = stedi--1.0.sql

# Dependencies point one way: stedi.c -> pg -> store -> core.  core and store
# are compiled without PostgreSQL's include path, core without libcurl's, so
# that a step in the wrong direction does not compile.
CORE_SRCS = $(sort $(wildcard src/core/*.c))
STORE_SRCS = $(sort $(wildcard src/store/*.c))
PG_SRCS = src/stedi.c $(sort $(wildcard src/pg/*.c))
CORE_OBJS = $(CORE_SRCS:.c=.o)
STORE_OBJS = $(STORE_SRCS:.c=.o)
PG_OBJS = $(PG_SRCS:.c=.o)
OBJS = $(PG_OBJS) $(STORE_OBJS) $(CORE_OBJS)

# The extension's SQL, in the order in which it has to run.
SQL_PARTS = begin server whoami source object reject landing json ingest export pending \
	pseudonym erasure policy \
	customer_trusted accelerometer_trusted customers_curated \
	device_owner step_trainer_trusted machine_learning_curated \
	reconcile quality refresh forget run status privileges
SQL_SRCS = $(SQL_PARTS:%=src/sql/%.sql)

REGRESS = setup extension server whoami uri read_json load landing reject ledger \
	hardening zones refresh consent ownership reconcile quality forget export pending run \
	privileges
REGRESS_OPTS = --inputdir=. --outputdir=test/output
ISOLATION = $(basename $(notdir $(sort $(wildcard test/isolation/specs/*.spec))))

PKG_CONFIG ?= pkg-config
SHLIB_LINK = -lcurl -ljson-c -lcrypto -lexpat -ldeflate -lzstd -lz

WARNINGS = -Wall -Wextra -Werror
LAYER_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -Wmissing-prototypes -O2 -g \
	-fPIC -fvisibility=hidden -fno-strict-aliasing -Isrc

# PostgreSQL's own headers are system headers here: -Wextra is for our code.
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = -std=gnu11 $(WARNINGS) -Wno-unused-parameter

# Bitcode for the JIT would only slow the build: nothing here is inlined.
override with_llvm = no

EXTRA_CLEAN = stedi--1.0.sql test/output test/unit/build test/fuzz/build src/*.o src/*/*.o

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
else
all install:
	@echo "pg_config of a PostgreSQL with its server headers is needed; try test/install-deps build" >&2; exit 1
endif

$(CORE_OBJS): %.o: %.c
	$(CC) $(LAYER_CFLAGS) -c -o $@ $<

$(STORE_OBJS): %.o: %.c
	$(CC) $(LAYER_CFLAGS) -c -o $@ $<

$(CORE_OBJS): $(wildcard src/core/*.h)
$(STORE_OBJS): $(wildcard src/core/*.h src/store/*.h)
$(PG_OBJS): $(wildcard src/core/*.h src/store/*.h src/pg/*.h)

stedi--1.0.sql: $(SQL_SRCS) Makefile
	cat $(SQL_SRCS) > $@.tmp && mv $@.tmp $@

# Unit tests of core and store, under the sanitizers.
UNIT_SRCS = $(sort $(wildcard test/unit/test_*.c))
UNIT_PROGRAMS = $(UNIT_SRCS:test/unit/%.c=test/unit/build/%)
UNIT_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -g -O1 -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all -Isrc -Itest/unit
UNIT_OBJS = $(patsubst src/%.c,test/unit/build/%.o,$(CORE_SRCS) $(STORE_SRCS))

unit: $(UNIT_PROGRAMS)

$(UNIT_OBJS): test/unit/build/%.o: src/%.c $(wildcard src/core/*.h src/store/*.h)
	@mkdir -p $(@D)
	$(CC) $(UNIT_CFLAGS) -c -o $@ $<

$(UNIT_PROGRAMS): test/unit/build/%: test/unit/%.c $(wildcard test/unit/*.h) $(UNIT_OBJS)
	@mkdir -p $(@D)
	$(CC) $(UNIT_CFLAGS) -o $@ $< $(UNIT_OBJS) $(SHLIB_LINK)

# The JSON reader's NEON path: its tests for ARM, in an emulator.
READER_SRCS = $(wildcard src/core/json_*.c) src/core/bytes.c src/core/status.c

unit-aarch64:
	@test/install-deps aarch64
	@mkdir -p test/unit/build/aarch64
	for test in test_json_reader test_json_number; do \
		aarch64-linux-gnu-gcc -std=c11 -D_GNU_SOURCE $(WARNINGS) -O2 -static -Isrc -Itest/unit \
			-o test/unit/build/aarch64/$$test test/unit/$$test.c $(READER_SRCS) -lm && \
		qemu-aarch64-static test/unit/build/aarch64/$$test || exit; \
	done

# No warning of the static analyzer, in any layer.
ANALYZE = clang --analyze -Xclang -analyzer-output=text -Xclang -analyzer-werror -D_GNU_SOURCE -Isrc

analyze:
	$(ANALYZE) -std=c11 $(CORE_SRCS) $(STORE_SRCS)
	$(ANALYZE) -std=gnu11 -isystem $(shell $(PG_CONFIG) --includedir-server) $(PG_SRCS)

# Fuzzers: clang's libFuzzer, with the sanitizers.
FUZZ_SECONDS = 60
FUZZERS = $(patsubst test/fuzz/%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
FUZZ_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -g -O1 -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all -Isrc
FUZZ_OBJS = $(patsubst src/%.c,test/fuzz/build/%.o,$(CORE_SRCS) $(STORE_SRCS))

fuzzers: $(FUZZERS:%=test/fuzz/build/%)

$(FUZZ_OBJS): test/fuzz/build/%.o: src/%.c $(wildcard src/core/*.h src/store/*.h)
	@mkdir -p $(@D)
	clang $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<

test/fuzz/build/fuzz_%: test/fuzz/fuzz_%.c $(FUZZ_OBJS)
	clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(SHLIB_LINK)

fuzz:
	@STEDI_FUZZ_SECONDS=$(FUZZ_SECONDS) test/run fuzz

# The benchmark: see test/bench/README.md.
BENCH_ARGUMENTS = SCALE SCALES RUNS SPARK_RUNS PEERS RESULTS SET

bench:
	@test/bench/run $(foreach name,$(BENCH_ARGUMENTS),$(if $($(name)),$(name)='$($(name))'))

# Throughput of the reader: make bench-reader FILE=accelerometer.json
READER_BENCH = test/unit/build/json_reader_bench

$(READER_BENCH): test/bench/json_reader_bench.c $(READER_SRCS) $(wildcard src/core/*.h)
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(WARNINGS) -O2 -Isrc -o $@ $(filter %.c,$^)

bench-reader: $(READER_BENCH)
	$(READER_BENCH) $(FILE) 25

# What the suite "instructions" compares with, for this compiler and PostgreSQL.
instructions-baseline:
	@STEDI_INSTRUCTIONS_BASELINE=1 test/run instructions

# What only needs a shell installs what it needs itself.
test:
	@test/run $(SUITES)

# Several sessions under random faults; "make test" does it for 120 s.
SOAK_SECONDS = 120
SEED = 1

soak:
	@STEDI_SOAK_SECONDS=$(SOAK_SECONDS) STEDI_SOAK_SEED=$(SEED) test/run soak

demo:
	@test/demo/run LANDING='$(LANDING)' LAKE='$(LAKE)'

demo-shell:
	@test/demo/run shell

print-%:
	@echo $($*)

help:
	@sed -n '2,/^$$/s/^#   /  /p' Makefile

.PHONY: unit unit-aarch64 analyze fuzzers fuzz bench bench-reader instructions-baseline test soak demo demo-shell help
