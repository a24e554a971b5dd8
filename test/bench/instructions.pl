# Instructions per record of the reader and per row of the export, counted by
# valgrind's callgrind, against instructions.txt.
#
#   READER=... COMPILER=... perl instructions.pl [--write]
#
# READER is json_reader_bench, COMPILER what made it and the extension.  Counts
# are the same on every run and every machine, unlike times: libc is told to use
# nothing that not all x86-64 processors have.  They depend on the architecture,
# the compiler and PostgreSQL, so the baseline is kept per major version of these.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);

my $tolerance = 0.03;
my $records = 20_000;
my $rounds = 2;
my $rows = 5_000;

my ($reader, $compiler) = @ENV{qw(READER COMPILER)};
my $baseline = dirname(abs_path($0)) . '/instructions.txt';
my $dir = tempdir('instructions-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chomp(my ($machine, $gcc, $postgres) = (`uname -m`, `$compiler -dumpfullversion`, `postgres --version`));
my ($gcc_major) = $gcc =~ /^(\d+)/ or die "$compiler: no version\n";
my ($postgres_major) = $postgres =~ /\) (\d+)/ or die "postgres: no version\n";
my $key = "$machine $compiler-$gcc_major postgresql-$postgres_major";

$ENV{GLIBC_TUNABLES} = 'glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-BMI1,-BMI2,-LZCNT,-MOVBE,-RTM,-ERMS,-FSRM,-SSE4_1,-SSE4_2,-SSSE3,-AVX_Fast_Unaligned_Load,-Fast_Unaligned_Copy';

my @counts = (
	[ 'reader, one decimal', reader(sub { sprintf '%.1f', $_[0] }) ],
	[ 'reader, 17 digits', reader(sub { sprintf '%.17g', $_[0] }) ],
	export(qw(ndjson csv)));

exit(@ARGV && $ARGV[0] eq '--write' ? write_baseline() : compare());

sub slurp { local (@ARGV, $/) = $_[0]; return scalar <> }

# The same on every machine, as rand() need not be.
my $random;

sub uniform
{
	$random = ($random * 1103515245 + 12345) % 2**31;
	return $random / 2**31;
}

# What callgrind collects of a program in some functions, divided.
sub count
{
	my ($functions, $units, $input, @command) = @_;
	open(my $stdin, '>', "$dir/input") or die "$dir/input: $!\n";
	print $stdin $input;
	close $stdin;
	system('sh', '-c', 'exec "$@" <"$0/input" >"$0/log" 2>&1', $dir, 'valgrind', '--tool=callgrind', '--vgdb=no',
		(map { "--toggle-collect=$_" } @$functions), "--callgrind-out-file=$dir/out", @command) == 0 or die slurp("$dir/log");
	my ($collected) = slurp("$dir/log") =~ /Collected : (\d+)/ or die slurp("$dir/log");
	return $collected / $units;
}

sub reader
{
	my ($format) = @_;
	$random = 1;
	open(my $file, '>', "$dir/readings.json") or die "$dir/readings.json: $!\n";
	for my $i (1 .. $records)
	{
		my @axes = map { $format->(20 * uniform() - 10) } 1 .. 3;
		printf $file qq({"user":"Customer.%d\@example.com","timestamp":%d,"x":%s,"y":%s,"z":%s}\n), $i % 900, 1655564376361 + $i, @axes;
	}
	close $file;
	return count(['main'], $records * $rounds, '', $reader, "$dir/readings.json", $rounds);
}

# A backend without a server, which reads one statement per line.
sub export
{
	my (@formats) = @_;
	my @backend = ('postgres', '--single', '-D', "$dir/data", 'postgres');
	system("initdb -D $dir/data -U postgres -E UTF8 --locale=C.UTF-8 -N >$dir/initdb.log 2>&1") == 0 or die slurp("$dir/initdb.log");
	open(my $setup, '|-', "@backend >$dir/setup.log 2>&1") or die "postgres: $!\n";
	print $setup "CREATE EXTENSION stedi\n",
	  q{CREATE TABLE reading AS SELECT 'Customer.' || i % 900 || '@example.com' AS email, i AS n,},
	  q{ to_timestamp(1655564376 + i) AS timestamp, i % 100 / 10.0::float8 AS x, sqrt(i::float8) AS y, -1.0::float8 AS z,},
	  qq{ 'said "' || i || '"' AS note FROM generate_series(1, $rows) AS i\n};
	close $setup;
	return map {
		my $sql = "SELECT * FROM stedi.export('reading', 'file://$dir/$_/', format => '$_')\n";
		my $count = count([ 'format_row*', 'write_rows*' ], $rows, $sql, @backend);
		die "not exported\n", slurp("$dir/log") unless slurp("$dir/log") =~ /rows = "$rows"/;
		[ "export, $_", $count ];
	} @formats;
}

sub compare
{
	my %expected = map { /^\Q$key\E: (.*): ([\d.]+)$/ ? ($1 => $2) : () } split /\n/, slurp($baseline);
	printf "1..%d\n", scalar @counts;
	foreach my $i (0 .. $#counts)
	{
		my ($name, $count) = @{ $counts[$i] };
		my $expected = $expected{$name};
		my $ok = defined $expected && abs($count / $expected - 1) <= $tolerance;
		printf "%s %d - %s: %.1f instructions\n", $ok ? 'ok' : 'not ok', $i + 1, $name, $count;
		next if $ok;
		print defined $expected
		  ? sprintf("# %+.1f %% of the baseline, %.1f.\n", 100 * ($count / $expected - 1), $expected)
		  : "# There is no baseline for $key.\n";
		print "# If that is right, make instructions-baseline on a commit that is good.\n";
	}
	return 0;
}

# Those of this compiler and PostgreSQL are replaced, others are kept.
sub write_baseline
{
	my @others = grep { !/^(?:# )?\Q$key\E: / } split /\n/, slurp($baseline);
	open(my $file, '>', $baseline) or die "$baseline: $!\n";
	print $file map { "$_\n" } @others, "# $key: $compiler $gcc with -O2, $postgres", map { sprintf '%s: %s: %.1f', $key, @$_ } @counts;
	close $file;
	return 0;
}
