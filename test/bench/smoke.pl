# The benchmark works: the generator makes what it says, engines are compared, and
# what is missing is named.  DuckDB and Spark would have to be downloaded, so only
# the peers inside PostgreSQL take part.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use IPC::Run qw(run);
use Test::More;

my $bench = $FindBin::RealBin;
my $dir = tempdir(CLEANUP => 1);

sub slurp
{
	my ($name) = @_;
	open(my $fh, '<', $name) or die "$name: $!\n";
	local $/ = undef;
	return <$fh>;
}

foreach my $copy ('a', 'b')
{
	run([ "$bench/make-scale", '--scale', '2', "$dir/$copy" ]) or die "make-scale failed\n";
}
my %records = (accelerometer => 2 * 81273, step_trainer => 2 * 28680);
foreach my $kind (sort keys %records)
{
	my @files = map { slurp("$dir/$_/$kind/landing/$kind-00000.json") } 'a', 'b';
	ok($files[0] eq $files[1], "$kind: the same arguments give the same bytes");
	is($files[0] =~ tr/\n//, $records{$kind}, "$kind: twice the records of the public data");
}

sub measure
{
	my ($program, @arguments) = @_;
	my ($out, $err);
	my $ok = run([ $program, '--python', '/nonexistent/python', '--scales', '1', '--runs', '1',
			'--spark-runs', '1', '--results', "$dir/results", @arguments ], '<', '/dev/null', '>', \$out, '2>', \$err);
	return ($ok, $out, $err);
}

my ($ok, $out, $err) = measure("$bench/measure", '--peers', 'copy duckdb', '--set', 'bgwriter_delay=77ms');
ok($ok, 'the benchmark runs') or diag $err;
like($out, qr/checksums of all tables and of the exports agree/, 'what the engines made was compared');
like($out, qr/^missing: duckdb: /m, 'a peer that is not installed is named');

my $table = slurp("$dir/results/results.tsv");
foreach my $stage ("stedi\tingest accelerometer", "stedi\tzone device_owner", "stedi\texport files",
	"stedi\twhole job",
	"stedi, 2 workers\twhole job", "COPY text\tcopy text", "COPY binary\tcopy binary",
	"COPY lines, INSERT SELECT\tinsert select")
{
	like($table, qr/^1\t\Q$stage\E\t\d+\.\d+\t/m, 'measured: ' . $stage =~ tr/\t/ /r);
}
like($table, qr/^# missing: duckdb: /m, 'the missing peer is in the table');
like($table, qr/^# PostgreSQL: .*bgwriter_delay 77ms/m, 'and a setting that was asked for');
like(slurp("$dir/results/whole-job.svg"), qr/^<svg .*stedi.*<\/svg>$/s, 'there is a picture');

# An engine that takes one axis for another.
system('cp', '-r', "$bench/..", "$dir/test") == 0 or die "could not copy the tests\n";
my $engines = slurp("$dir/test/bench/engines.py");
$engines =~ s/j->>'y'/j->>'x'/ or die "nothing to spoil\n";
open(my $fh, '>', "$dir/test/bench/engines.py") or die "$dir: $!\n";
print $fh $engines;
close $fh or die "$dir: $!\n";

($ok, $out, $err) = measure("$dir/test/bench/measure", '--peers', 'copy');
ok(!$ok, 'engines that differ stop the benchmark');
like($err, qr/accelerometer_landing of insert select differs/, 'it says what differs');
unlike($out, qr/whole job/, 'and no time is printed');

done_testing();
