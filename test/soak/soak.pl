
# A long run under faults: several sessions load and export through a proxy that
# breaks requests at random, are cancelled and terminated, while objects are added
# and replaced.  At the end nothing is lost, doubled, damaged or left over.
#
#   make soak SOAK_SECONDS=1800 SEED=7
#
# The seed fixes what is tried and how often each fault comes, not the moments.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t/lib";
use Compress::Zlib;
use Digest::MD5 qw(md5_hex);
use IO::Uncompress::Gunzip qw(gunzip);
use IPC::Open3;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{STEDI_SOAK_SECONDS} // 120;
my $seed = $ENV{STEDI_SOAK_SEED} // 1;

# Each of the requests that match breaks with this probability.
my @faults = (
	[ 'SlowDown', 0.02, StediProxy::error_reply(503, 'SlowDown') ],
	[ 'status 500', 0.02, action => 'reply', status => 500, body => 'Oops' ],
	[ 'RequestTimeout', 0.01, StediProxy::error_reply(400, 'RequestTimeout') ],
	[ 'ExpiredToken', 0.001, StediProxy::error_reply(400, 'ExpiredToken') ],
	[ 'AccessDenied', 0.001, StediProxy::error_reply(403, 'AccessDenied') ],
	[ 'redirect', 0.001, action => 'reply', status => 301, headers => { Location => 'http://127.0.0.1:1/' } ],
	[ 'error in a 200', 0.005, action => 'reply', status => 200, body => '<Error><Code>InternalError</Code></Error>' ],
	[ 'reset', 0.02, action => 'reset' ],
	[ 'reply lost', 0.02, action => 'lose' ],
	[ 'silence', 0.004, action => 'stall', at => 'request' ],
	[ 'silence in the body', 0.01, action => 'stall', at => 'body', bytes => 3000, method => 'GET' ],
	[ 'silence in an upload', 0.01, action => 'stall', at => 'upload', bytes => 1000, method => 'PUT' ],
	[ 'cut', 0.03, action => 'cut', bytes => 500, method => 'GET' ],
	[ 'cut later', 0.03, action => 'cut', bytes => 60_000, method => 'GET' ],
	[ 'reset in the body', 0.02, action => 'reset', bytes => 20_000, method => 'GET' ],
	[ 'bit flipped in an object', 0.03, action => 'alter', flip => 777, method => 'GET', target => '[.]json' ],
	[ 'bit flipped in an upload', 0.01, action => 'alter', at => 'upload', flip => 77, method => 'PUT' ],
);
my $settings = "SET stedi.max_attempts = 4; SET stedi.idle_timeout = '1s'; SET stedi.part_size = '5MB'; SET client_min_messages = error;";

# What a statement under faults may end with; anything else is a bug.
my $expected = qr/^(?:08006|08P01|28000|38000|42501|53400|55000|57014|57P01|58030|58P01)$/;

my $part_rows = 11_000;    # of an export that takes two parts
my $workers = 2;
my $places = 3;            # that each worker exports to

# A psql that stays, and goes on after errors.
package Client;

sub new
{
	my ($class, $node, $name) = @_;
	my $self = bless { node => $node, name => $name, marks => 0 }, $class;
	$self->connect;
	return $self;
}

sub connect
{
	my ($self) = @_;
	local $ENV{PGAPPNAME} = $self->{name};
	my $node = $self->{node};
	$self->{pid} = IPC::Open3::open3($self->{in}, $self->{out}, undef, $node->installed_command('psql'),
		'-XqAt', '-v', 'VERBOSITY=verbose', '-h', $node->host, '-p', $node->port, '-U', 'postgres', 'postgres');
	$self->query($settings);
	return;
}

# Output and messages, and the SQLSTATE of the first error or "".
sub query
{
	my ($self, $sql) = @_;
	my $mark = 'mark ' . ++$self->{marks};
	my $text = '';
	local $SIG{PIPE} = 'IGNORE';
	print { $self->{in} } "$sql\n;\n\\echo $mark\n";
	$self->{in}->flush;
	while (defined(my $line = readline $self->{out}))
	{
		return ($text, $text =~ /(?:ERROR|FATAL):\s+(\w{5}):/ ? $1 : '') if $line eq "$mark\n";
		$text .= $line;
	}
	waitpid $self->{pid}, 0;
	$self->connect;
	return ($text, '57P01');
}

sub backend { return ($_[0]->query('SELECT pg_backend_pid()'))[0] + 0 }

package main;

# Older versions of PostgreSQL::Test have none.
*PostgreSQL::Test::Cluster::installed_command = sub { return $_[1] }
  unless PostgreSQL::Test::Cluster->can('installed_command');

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('soak', endpoint => $proxy->endpoint);
my $dir = scratch_dir();
srand $seed;

sub one { return $node->safe_psql('postgres', $_[0]) }

my @sources = ('a', 'b');
for my $source (@sources)
{
	my $uri = quote(uri("in/$source/"));
	one(<<"SQL");
CREATE TABLE $source (name text, version int, n int, check_sum text, record_id bigint);
INSERT INTO stedi.source (name, uri, target) VALUES ('$source', $uri, 'public.$source');
SQL
}
one('INSERT INTO stedi.export_target (source, uri) VALUES (' . quote('public.a') . ', ' . quote(uri('out/run/')) . ')');
my $started = one('SELECT pg_postmaster_start_time()');

# The truth: for each object its version and number of rows.
my %truth;

sub put_object
{
	my $source = $sources[ rand @sources ];
	my $name = sprintf '%03d.json', rand 60;
	my $object = $truth{$source}{$name} //= { version => 0 };
	my ($version, $rows) = ($object->{version} + 1, 1 + int(rand(10) < 1 ? rand 20_000 : rand 500));
	my $body = join '', map { sprintf qq({"name":"%s","version":%d,"n":%d,"checkSum":"%s"}\n), $name, $version, $_, md5_hex("$name $version $_") } 1 .. $rows;
	$body = Compress::Zlib::memGzip($body) if $version % 3 == 0;
	$s3->put(key("in/$source/$name"), $body);
	%$object = (version => $version, rows => $rows);
	return;
}

# Run a function in a process of its own, with a generator of its own; its result
# goes to a file.
sub start
{
	my ($name, $function) = @_;
	my $pid = fork // die "fork: $!\n";
	return $pid if $pid;
	srand($seed * 1000 + ord $name);
	my $result = eval { $function->($name) } // { died => "$@" };
	open(my $file, '>', "$dir/$name") or POSIX::_exit(1);
	print $file encode_json($result);
	close $file;
	POSIX::_exit(0);
}

sub export
{
	my ($place, $rows, $salt, $compression) = @_;
	return 'SELECT uri, rows FROM stedi.export_query(' . quote("SELECT i, repeat(md5($salt || '-' || i), 16) AS noise FROM generate_series(1, $rows) AS i")
	  . ', ' . quote(uri("out/$place/")) . ", mode => 'overwrite', compression => '" . ($compression // 'none') . "')";
}

sub exported
{
	my ($rows, $salt) = @_;
	return md5_hex(map { sprintf qq({"i":%d,"noise":"%s"}\n), $_, md5_hex("$salt-$_") x 16 } 1 .. $rows);
}

# Load, export and run; check each export that is said to have succeeded.
sub work
{
	my ($name, $until) = @_;
	my $client = Client->new($node, 'soak worker');
	my $reader = StediS3->new;
	my %result = (done => {}, failed => {}, wrong => []);
	for (my $turn = 1; time < $until; $turn++)
	{
		my $dice = rand;
		my ($what, $sql, $check);
		if ($dice < 0.55)
		{
			$what = 'ingest';
			$sql = q{SELECT count(*) FROM stedi.ingest('} . $sources[ rand @sources ] . q{')};
		}
		elsif ($dice < 0.63)
		{
			$what = 'run';
			$sql = 'CALL stedi.run(wait => true)';
		}
		else
		{
			my $rows = rand() < 0.1 ? $part_rows : 1 + int rand 50;
			$what = $rows == $part_rows ? 'export of two parts' : 'export';
			my $place = "$name-" . int rand $places;
			my $gzip = rand() < 0.3;
			$sql = export($place, $rows, $turn, $gzip ? 'gzip' : 'none');
			$check = sub {
				my ($key) = $_[0] =~ m{^s3://[^/]+/(\S+)\|$rows$}m or return "$place: no result: $_[0]";
				my $data = eval { $reader->get($key) } // return "$place: $@";
				if ($gzip)
				{
					my $packed = $data;
					gunzip(\$packed, \$data, MultiStream => 1) or return "$place: no gzip";
				}
				return md5_hex($data) eq exported($rows, $turn) ? undef : "$place: other data";
			};
		}
		$sql = 'SET statement_timeout = ' . int(5 + rand 500) . ";\n$sql;\nRESET statement_timeout" if rand() < 0.1;
		my ($text, $sqlstate) = $client->query($sql);
		if ($sqlstate ne '')
		{
			$result{failed}{$sqlstate}++;
			push @{ $result{wrong} }, "$what: $text" if $sqlstate !~ $expected;
		}
		else
		{
			$result{done}{$what}++;
			my $wrong = $check && $check->($text);
			push @{ $result{wrong} }, $wrong if $wrong;
		}
		sleep rand 0.3;
	}
	return \%result;
}

# One session that makes calls without end, and catches what they raise; see
# whether it grows.
sub endure
{
	my ($name, $until) = @_;
	my $client = Client->new($node, 'soak endurer');
	my $pid = $client->backend;
	my %result = (calls => 0, pid => $pid);
	my $measure = sub {
		my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
		return { kb => $kb, fds => remote_fds($pid) };
	};
	my @calls = (
		'count(*) FROM stedi.list_objects(' . quote(uri('in/')) . ')',
		'count(*) FROM stedi.read_json(' . quote(uri('in/a/00*.json')) . ')',
		q{count(*) FROM stedi.ingest('b', max_objects => 3)},
		'count(*) FROM stedi.load(' . quote('c') . ', ' . quote(uri('in/b/00*.json')) . ", force => true, dry_run => true)",
		q{count(*) FROM stedi.export_query('SELECT 1', } . quote(uri('out/endurer/')) . q{, mode => 'overwrite')},
		'count(*) FROM stedi.list_objects(' . quote('s3://no-such-bucket-here/') . ')');
	$client->query('CREATE TEMP TABLE c (name text, version int, n int, check_sum text, record_id bigint)');
	while (time < $until || $result{calls} < 1000)
	{
		my $block = join '', map { "BEGIN PERFORM $_; EXCEPTION WHEN query_canceled OR OTHERS THEN caught := caught + 1; END;\n" } (@calls) x 5;
		my ($text, $sqlstate) = $client->query("DO \$do\$ DECLARE caught int := 0; BEGIN\n$block RAISE LOG 'caught %', caught; PERFORM set_config('soak.caught', caught::text, false); END \$do\$");
		my ($caught) = $client->query(q{SELECT current_setting('soak.caught', true)});
		$result{calls} += 5 * @calls;
		$result{caught} += $caught if $caught =~ /^\d+$/;
		$result{first} = $measure->() if !$result{first} && $result{calls} >= 300;
		return { died => "the session ended: $text" } if $client->backend != $pid;
	}
	$result{last} = $measure->();
	return \%result;
}

# The run itself.
put_object() for 1 .. 30;
$proxy->ask(do => 'seed', seed => $seed);
for (@faults)
{
	my ($name, $chance, %rule) = @$_;
	$proxy->rule(times => 0, name => $name, chance => $chance, %rule);
}
my $until = time + $seconds;
my %pids = map { $_ => start($_, sub { work($_[0], $until) }) } 'A' .. chr(ord('A') + $workers - 1);
$pids{E} = start('E', sub { endure($_[0], $until) });
my %stopped = (cancelled => 0, terminated => 0);
while (time < $until)
{
	put_object();
	my $dice = rand;
	if ($dice < 0.25)
	{
		$stopped{cancelled} += one(q{SELECT count(pg_cancel_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE application_name LIKE 'soak %' AND state = 'active' ORDER BY random() LIMIT 1) AS victim});
	}
	elsif ($dice < 0.35)
	{
		$stopped{terminated} += one(q{SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE application_name = 'soak worker' AND state = 'active' ORDER BY random() LIMIT 1) AS victim});
	}
	sleep rand 0.4;
}
waitpid $_, 0 for values %pids;
my %results = map { $_ => -s "$dir/$_" ? decode_json(slurp_file("$dir/$_")) : { died => 'no result' } } keys %pids;

# Summary.
my $counts = $proxy->ask(do => 'counts');
my $passed = delete $counts->{pass};
my $faults = 0;
$faults += $_ for values %$counts;
my (%done, %failed, @wrong);
for my $result (map { $results{$_} } grep { $_ ne 'E' } sort keys %results)
{
	push @wrong, $result->{died} if $result->{died};
	push @wrong, @{ $result->{wrong} // [] };
	$done{$_} += $result->{done}{$_} for keys %{ $result->{done} };
	$failed{$_} += $result->{failed}{$_} for keys %{ $result->{failed} };
}
sub list { my ($hash) = @_; return join ', ', map { "$_ $hash->{$_}" } sort keys %$hash }
my $objects = 0;
my $versions = 0;
for my $object (map { values %$_ } values %truth) { $objects++; $versions += $object->{version} }
diag "seed $seed, $seconds s: $objects objects in $versions versions; requests without a fault $passed, with one $faults";
diag 'faults: ' . list($counts);
diag 'stopped: ' . list(\%stopped);
diag 'statements that succeeded: ' . list(\%done);
diag 'statements that failed: ' . list(\%failed);
my $endurer = $results{E};
diag "the endurer: " . ($endurer->{died} // "$endurer->{calls} calls, $endurer->{caught} errors caught; descriptors $endurer->{first}{fds}, then $endurer->{last}{fds}; "
	  . "private memory $endurer->{first}{kb} kB, then $endurer->{last}{kb} kB");

# It was a test of something.
is_deeply([ grep { !$counts->{ $_->[0] } && $_->[1] * ($passed + $faults) > 20 } @faults ], [], 'every fault has come');
cmp_ok($faults, '>', $seconds, 'there were faults');
cmp_ok($stopped{$_}, '>', $seconds / 60, "sessions were $_") for sort keys %stopped;
cmp_ok($done{$_} // 0, '>', 0, "some of what was tried succeeded: $_") for 'ingest', 'run', 'export', 'export of two parts';
cmp_ok($failed{57014} // 0, '>', 0, 'statements were cancelled');
is_deeply(\@wrong, [], 'every export that succeeded is whole, and every error is one that faults explain');

# Nothing leaks.
is($endurer->{died}, undef, 'the session that endures has not ended');
cmp_ok($endurer->{calls} // 0, '>=', 1000, 'it made a thousand calls');
cmp_ok($endurer->{caught} // 0, '>=', 100, 'with errors among them');
is($endurer->{last}{fds}, $endurer->{first}{fds}, 'it holds no more descriptors at the end');
cmp_ok($endurer->{last}{kb} - $endurer->{first}{kb}, '<', 8 * 1024, 'nor much more memory');

# The faults are over: what was missed is made good, and everything is right.
$proxy->clear;
one("SELECT count(*) FROM stedi.ingest('$_')") for @sources;
for my $source (@sources)
{
	my %loaded = map { my ($name, @figures) = split /\|/; $name => "@figures" } split /\n/,
	  one("SELECT name, version, count(*), count(DISTINCT n), min(n), max(n) FROM $source GROUP BY name, version ORDER BY name, version");
	my %wanted = map { my $object = $truth{$source}{$_}; $_ => join ' ', $object->{version}, ($object->{rows}) x 2, 1, $object->{rows} } keys %{ $truth{$source} };
	is_deeply(\%loaded, \%wanted, "source $source: each object's last version, and no row twice");
	is(one("SELECT count(*) FROM $source WHERE check_sum IS DISTINCT FROM md5(name || ' ' || version || ' ' || n)"), '0', "source $source: no row is damaged");
	is(one("SELECT count(*) FROM (SELECT name FROM $source GROUP BY name HAVING count(DISTINCT version) > 1) AS twice"), '0', "source $source: no object in two versions");
}
is(one(q{SELECT count(*) FROM stedi.reject}), '0', 'no damage was taken for a record that is bad');
is(one(q{SELECT count(*) FROM stedi.object AS o WHERE status IN ('loaded', 'partial') AND rows IS DISTINCT FROM
	(SELECT count(*) FROM (SELECT record_id FROM a UNION ALL SELECT record_id FROM b) AS r WHERE r.record_id >> 32 = o.object_id)}),
	'0', 'the ledger says what the tables hold');
for my $place ((map { my $worker = $_; map { "$worker-$_" } 0 .. $places - 1 } sort grep { $_ ne 'E' } keys %pids), 'endurer')
{
	one(export($place, 10, 0));
	my @parts = grep { m{/part-} } $s3->ls(key("out/$place/"));
	is(scalar @parts, 1, "exports to $place: one is left");
	is(md5_hex($s3->get($parts[0])), exported(10, 0), "exports to $place: it is right");
}
one('SELECT count(*) FROM stedi.export(' . quote('public.a') . ', ' . quote(uri('out/run/')) . ", mode => 'overwrite')");
is(scalar(my @parts = grep { m{/part-} } $s3->ls(key('out/run/'))), 1, "run()'s exports: one is left");
is(one('SELECT count(*) FROM (SELECT name, version, n FROM a EXCEPT ALL SELECT value ->> ' . quote('name') . ', (value ->> ' . quote('version') . ')::int, (value ->> '
	  . quote('n') . ')::int FROM stedi.read_json(' . quote(uri('out/run/part-*')) . ')) AS missing'), '0', 'it holds every row');
is_deeply([ $s3->uploads(key()) ], [], 'no upload is left');

# The server has stood it.
is(one('SELECT pg_postmaster_start_time()'), $started, 'the server was never restarted');
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal|PANIC|TRAP:|server process .* exited with exit code/, 'no process of it crashed');
is(index($log, $ENV{STEDI_S3_SECRET_ACCESS_KEY}), -1, 'the secret is not in its log');
unlike($log, qr/AWS4-HMAC|Signature=/, 'nor is a signature');

done_testing();
