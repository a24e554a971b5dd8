# Run the test suites and count.
#
# PostgreSQL refuses to run as root, so whatever starts a server runs as an
# unprivileged user, in a copy of the tests below a temporary directory.  The
# servers that suites share (a cluster, the S3 server) are started here and
# always stopped.

use strict;
use warnings;

use Cwd qw(getcwd);
use File::Basename qw(basename);
use File::Temp qw(tempdir);
use TAP::Harness;

my @all_suites = qw(unit regress isolation property bench tap tap-swift fuzz memcheck instructions soak);
my %suites = (
	unit => \&unit_suite,
	regress => \&regress_suite,
	isolation => \&isolation_suite,
	property => \&property_suite,
	bench => \&bench_suite,
	tap => sub { return tap_suite('tap', 'radosgw', 't') },
	'tap-swift' => sub { return tap_suite('tap-swift', 'swift', 't') },
	fuzz => \&fuzz_suite,
	memcheck => sub { return tap_suite('memcheck', 'radosgw', 'memcheck') },
	instructions => \&instructions_suite,
	# STEDI_SOAK_SECONDS and STEDI_SOAK_SEED say how long, and which
	soak => sub { return tap_suite('soak', 'radosgw', 'soak') });
my @s3_servers = qw(radosgw swift);

my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
chomp(my $bindir = `$pg_config --bindir`);
chomp(my $pgxs = `$pg_config --pgxs`);
(my $pgtest = $pgxs) =~ s{makefiles/pgxs\.mk$}{test};

my $source = getcwd();
my $work = tempdir('stedi-test-XXXXXX', TMPDIR => 1);
my @as_user = as_user();
my ($passed, $failed) = (0, 0);
my @failures;
my %started;
my %children;

$SIG{INT} = $SIG{TERM} = sub { exit 1 };

foreach my $suite (@ARGV ? @ARGV : @all_suites)
{
	die "unknown suite \"$suite\"; there are @all_suites\n" unless $suites{$suite};
}

prepare();
foreach my $suite (@ARGV ? @ARGV : @all_suites)
{
	print "\n== $suite\n";
	$suites{$suite}->();
}

if (@failures)
{
	print "\nfailed:\n", map { "  $_\n" } @failures;
	print "what the servers logged is kept in $work\n";
}
print "\n$passed passed, $failed failed\n";
exit($failed == 0 && $passed > 0 ? 0 : 1);

END
{
	my $status = $?;
	kill 'TERM', keys %children;
	stop_all();
	system('rm', '-rf', $work) unless @failures;
	$? = $status;
}

sub as_user
{
	return () if $> != 0;
	my $user = getpwnam('postgres') ? 'postgres' : 'nobody';
	my $gid = (getpwnam($user))[3];
	return ('setpriv', "--reuid=$user", "--regid=$gid", '--init-groups');
}

# As the unprivileged user, in a directory that this user can enter.
sub in_work
{
	return ('sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', $work, @as_user, @_);
}

# A copy of what the suites need that the unprivileged user can read and write.
sub prepare
{
	chmod 0755, $work;
	system('cp', '-r', 'sql', 'expected', 'test', 'Makefile', $work) == 0 or die "could not copy the tests\n";
	mkdir "$work/tmp";
	system('chown', '-R', (getpwnam('postgres') ? 'postgres' : 'nobody'), $work) if @as_user;
	$ENV{TMPDIR} = "$work/tmp";
	$ENV{HOME} = $work;
	$ENV{PATH} = "$bindir:$ENV{PATH}";
	$ENV{PG_CONFIG} = $pg_config;
	$ENV{LC_ALL} = 'C.UTF-8';
	delete @ENV{grep { /^(PG(?!_CONFIG)|AWS_|STEDI_S3_)/ } keys %ENV};
	return;
}

sub note_result
{
	my ($suite, $name, $ok) = @_;
	$ok ? $passed++ : $failed++;
	push @failures, "$suite: $name" unless $ok;
	return;
}

# Programs that speak TAP.
sub run_tap
{
	my ($suite, $exec, @files) = @_;
	my $harness = TAP::Harness->new({
		exec => $exec, verbosity => $ENV{STEDI_TEST_VERBOSE} ? 1 : -1, merge => 0, failures => 1 });
	my $result = $harness->runtests(map { [ $_, basename($_) ] } @files);
	foreach my $name ($result->descriptions)
	{
		my ($parser) = $result->parsers($name);
		$passed += $parser->passed;
		my @bad = $parser->failed;
		# A program that died, or said less than it planned, has failed as such.
		@bad = ('the program itself') if !@bad && $parser->has_problems;
		$failed += @bad;
		push @failures, "$suite: $name: @bad" if @bad;
		printf "%-40s %d passed, %d failed\n", $name, scalar $parser->passed, scalar @bad;
	}
	return;
}

sub unit_suite
{
	system('make', '-s', 'unit') == 0 or return note_result('unit', 'build', 0);
	my @programs = sort grep { -x } glob "$source/test/unit/build/test_*";
	return note_result('unit', 'no program', 0) unless @programs;
	# Some look at what a user without privileges may do.
	system('cp', @programs, "$work/tmp") == 0 or die;
	return run_tap('unit', [ in_work() ], map { "$work/tmp/" . basename($_) } @programs);
}

sub cluster
{
	my $dir = "$work/cluster";
	if (!$started{cluster})
	{
		system("$work/test/cluster", 'start', $dir) == 0 or die "could not start a cluster\n";
		$started{cluster} = $dir;
	}
	return (PGHOST => $dir, PGUSER => 'postgres', PGDATABASE => 'stedi');
}

sub s3_server
{
	my ($program) = @_;
	my $dir = "$work/$program";
	if (!$started{$program})
	{
		mkdir $dir;
		system('chown', '--reference', "$work/test", $dir) if @as_user;
		$started{$program} = $dir;
		system(@as_user, "$work/test/s3/$program", 'start', $dir) == 0 or die "could not start the S3 server\n";
	}
	open(my $fh, '<', "$dir/env") or die "$dir/env: $!\n";
	my %env = map { /^(\w+)=(.*)$/ ? ($1 => $2) : () } <$fh>;
	close $fh;
	return %env;
}

sub stop_all
{
	system("$work/test/cluster", 'stop', delete $started{cluster}) if $started{cluster};
	foreach my $program (grep { $started{$_} } @s3_servers)
	{
		system(@as_user, "$work/test/s3/$program", 'stop', delete $started{$program});
	}
	return;
}

# pg_regress and pg_isolation_regress: "test name ... ok" up to 15, TAP since 16.
sub run_regress
{
	my ($suite, $program, @arguments) = @_;
	local %ENV = (%ENV, cluster());
	open(my $out, '-|', in_work('sh', '-c', 'exec "$@" 2>&1', 'sh'), $program, "--bindir=$bindir", '--dlpath=.', "--host=$ENV{PGHOST}", '--user=postgres', @arguments)
		or die "$program: $!\n";
	my $seen = 0;
	my $bad = 0;
	while (my $line = <$out>)
	{
		print $line;
		my ($name, $ok);
		if ($line =~ /^test (\S+)\s+\.\.\. (ok|FAILED)/)   { ($name, $ok) = ($1, $2 eq 'ok'); }
		elsif ($line =~ /^(not )?ok \d+\s+[-+] (\S+)/)      { ($name, $ok) = ($2, !$1); }
		next unless defined $name;
		note_result($suite, $name, $ok);
		$seen++;
		$bad++ unless $ok;
	}
	# It gives up when a server or a program that it needs is gone.
	my $finished = close $out;
	note_result($suite, 'no test was run', 0) unless $seen;
	note_result($suite, 'the program itself', 0) unless $finished || $bad;
	my ($dir) = map { /^--outputdir=(.*)/ ? $1 : () } @arguments;
	system('cat', "$work/$dir/regression.diffs") if -s "$work/$dir/regression.diffs";
	return;
}

sub makefile_list
{
	my ($variable) = @_;
	chomp(my $list = `make -s print-$variable`);
	return split ' ', $list;
}

sub regress_suite
{
	system(@as_user, 'mkdir', '-p', "$work/test/output");
	return run_regress('regress', "$pgtest/regress/pg_regress", '--inputdir=.', '--outputdir=test/output',
		makefile_list('REGRESS'));
}

sub isolation_suite
{
	system(@as_user, 'mkdir', '-p', "$work/test/output_iso");
	return run_regress('isolation', "$pgtest/isolation/pg_isolation_regress",
		'--inputdir=test/isolation', '--outputdir=test/output_iso', makefile_list('ISOLATION'));
}

sub property_suite
{
	local %ENV = (%ENV, cluster());
	return run_tap('property', [ in_work('/usr/bin/python3') ], map { "$work/test/property/$_.py" } qw(zones documents));
}

# Every file needs an S3 server; each suite has its own.
sub bench_suite
{
	return run_tap('bench', [ in_work('perl') ], "$work/test/bench/smoke.pl");
}

sub tap_suite
{
	my ($suite, $s3_program, $folder) = @_;
	my $dir = "$work/tmp/$suite";
	system(@as_user, 'mkdir', '-p', $dir);
	local %ENV = (
		%ENV, s3_server($s3_program),
		PG_REGRESS => "$pgtest/regress/pg_regress",
		TESTDIR => $dir, TESTLOGDIR => "$dir/log", TESTDATADIR => "$dir/data",
		STEDI_TEST_DIR => "$work/test",
		PGPORT => 65432);
	return run_tap($suite, [ in_work('perl', "-I$pgtest/perl", "-I$work/test/t/lib") ],
		sort glob "$work/test/$folder/*.pl");
}

sub instructions_suite
{
	my ($reader) = makefile_list('READER_BENCH');
	my $script = "$work/test/bench/instructions.pl";
	system('make', '-s', $reader) == 0 or return note_result('instructions', 'build', 0);
	system('cp', $reader, "$work/tmp") == 0 or die;
	local %ENV = (%ENV, READER => "$work/tmp/" . basename($reader), COMPILER => makefile_list('CC'));
	return run_tap('instructions', [ in_work('perl') ], $script) unless $ENV{STEDI_INSTRUCTIONS_BASELINE};

	# Write them down instead.
	my $ok = system(in_work('perl', $script, '--write')) == 0
	  && system('cp', "$work/test/bench/instructions.txt", "$source/test/bench") == 0;
	return note_result('instructions', 'baseline', $ok);
}

# Each fuzzer for a while, two at a time: what crashed it is kept.
sub fuzz_suite
{
	my $seconds = $ENV{STEDI_FUZZ_SECONDS} // 60;
	my @fuzzers = makefile_list('FUZZERS');
	system('make', '-s', '-j2', 'fuzzers') == 0 or return note_result('fuzz', 'build', 0);
	return note_result('fuzz', 'no fuzzer', 0) unless @fuzzers;
	while (@fuzzers || %children)
	{
		while (@fuzzers && keys %children < 2)
		{
			my $name = shift @fuzzers;
			$children{start_fuzzer($name, $seconds)} = $name;
		}
		my $pid = wait;
		my $name = delete $children{$pid} // next;
		judge_fuzzer($name, $?);
	}
	return;
}

sub start_fuzzer
{
	my ($name, $seconds) = @_;
	my $dir = "$source/test/fuzz";
	my $found = "$dir/build/$name.corpus";
	mkdir $found;
	my @options = ("-max_total_time=$seconds", '-timeout=20', '-print_final_stats=1', "-artifact_prefix=$dir/build/$name.");
	push @options, "-dict=$dir/$name.dict" if -e "$dir/$name.dict";
	my $pid = fork // die "fork: $!\n";
	return $pid if $pid;
	open(STDOUT, '>', "$work/$name.log") && open(STDERR, '>&', \*STDOUT) && exec("$dir/build/$name", @options, $found, "$dir/corpus/$name");
	# not by exit(), which would tidy up under the others
	kill 'KILL', $$;
}

# It has to have run, and found nothing.
sub judge_fuzzer
{
	my ($name, $status) = @_;
	my $log = do { local (@ARGV, $/) = "$work/$name.log"; <> };
	my ($inputs) = $log =~ /^stat::number_of_executed_units:\s*(\d+)/m;
	my $ok = $status == 0 && ($inputs // 0) > 100;
	note_result('fuzz', $name, $ok);
	printf "%-40s %s, %d inputs\n", $name, $ok ? 'passed' : 'failed', $inputs // 0;
	return if $ok;
	print $log =~ s/^#\d+\t(?:NEW|REDUCE|pulse).*\n//mgr;
	my ($input) = $log =~ /Test unit written to (\S+)/;
	print "again: test/fuzz/build/$name $input\n" if defined $input;
	return;
}
