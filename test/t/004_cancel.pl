
# A query can be stopped wherever a transfer hangs: at once, with nothing left
# half done, and the session goes on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('cancel', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

my $truth = attach_landing($node, $s3, '--clean', '--customers', 200);

my $ingest = q{SELECT count(*) FROM stedi.ingest('accelerometer')};
my $export = q{SELECT count(*) FROM stedi.export_query($$
	SELECT i, md5(i::text) AS a, md5((i + 1)::text) AS b FROM generate_series(1, 400000) AS i $$, }
  . quote(uri('out/')) . q{, mode => 'overwrite')};
my $part = q{part-00000.*partNumber=2};
# the same rows from a table, for workers to format
one('CREATE TABLE noise AS SELECT i, md5(i::text) AS a, md5((i + 1)::text) AS b FROM generate_series(1, 400000) AS i');
one('ANALYZE noise');
my $by_workers = q{SELECT count(*) FROM stedi.export('noise', } . quote(uri('out/')) . q{, mode => 'overwrite')};
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'};
my $objects = q{accelerometer-.*[.]json};

my $files = $export =~ s/'overwrite'/'overwrite', max_file_size => '200kB'/r;
my @dead = (target => 'out/', times => 0, action => 'stall', at => 'request');

my @cases = (
	[ 'while listing', $ingest,
		{ method => 'GET', target => 'list-type=2', action => 'stall', at => 'request' } ],
	[ 'in the middle of a listing', $ingest,
		{ method => 'GET', target => 'list-type=2', action => 'stall', at => 'body', bytes => 300 } ],
	[ 'before an object answers', $ingest,
		{ method => 'GET', target => $objects, skip => 2, action => 'stall', at => 'request' } ],
	[ 'in the middle of an object', $ingest,
		{ method => 'GET', target => $objects, skip => 2, action => 'stall', at => 'body', bytes => 50000 } ],
	[ 'while looking up an object', 'SELECT * FROM stedi.list_objects(' . quote(uri('lake/x')) . ')',
		{ method => 'HEAD', action => 'stall', at => 'request' } ],
	[ 'between attempts', $ingest,
		{ method => 'GET', target => 'list-type=2', times => 0,
			StediProxy::error_reply(503, 'SlowDown', headers => { 'Retry-After' => '20' }) } ],
	[ 'in the middle of a part', $export,
		{ method => 'PUT', target => $part, action => 'stall', at => 'upload', bytes => 100_000 } ],
	[ 'in the middle of a part that workers have made', $by_workers,
		{ method => 'PUT', target => $part, action => 'stall', at => 'upload', bytes => 100_000 } ],
	[ 'after a part', $export,
		{ method => 'PUT', target => $part, action => 'stall', at => 'request' } ],
	[ 'while an upload is begun', $export,
		{ method => 'POST', target => 'uploads', action => 'stall', at => 'request' } ],
	[ 'while an upload is completed', $export,
		{ method => 'POST', target => 'uploadId=', action => 'stall', at => 'request' } ],
	# From some moment on the store answers nothing at all, so that what was
	# written can't be taken back either.
	[ 'in an upload to a store that has died', $export,
		{ target => $part, action => 'stall', at => 'upload', bytes => 100_000 }, { method => 'DELETE', @dead } ],
	[ 'in the third file to a store that has died', $files,
		{ target => 'part-00002', action => 'stall', at => 'request' }, { method => 'DELETE', @dead } ],
);

sub untouched
{
	return one('SELECT (SELECT count(*) FROM stedi.accelerometer_landing), (SELECT count(*) FROM stedi.object)')
	  . '|' . scalar(grep { !/_manifest|_SUCCESS/ } $s3->ls(key('out/')));
}

# Export one row to the place where exports were stopped, then remove that, too;
# returns how many files there were.
sub clean_up
{
	one("SELECT * FROM stedi.export_query('SELECT 1', " . quote(uri('out/')) . q{, mode => 'overwrite')});
	my @parts = grep { /part-/ } $s3->ls(key('out/'));
	$s3->rm($_) for @parts, key('out/_manifest.json'), key('out/_SUCCESS');
	return scalar @parts;
}

# Wait until the query hangs where it should.
sub hangs
{
	my ($rule) = @_;
	return $proxy->wait_stalled if $rule->{action} eq 'stall';
	return wait_until('a refused request', sub { $proxy->faults });
}

# One that is good, so that all that is kept between queries is there.
my $session = session($node);
my $pid = backend_pid($session);
$session->query('BEGIN');
$session->query($ingest);
$session->query('ROLLBACK');
my $fds = remote_fds($pid);

for my $case (@cases)
{
	my ($where, $sql, $rule, @more) = @$case;
	my ($out, $messages);
	stops_at_once($node, cancel => $where,
		sub {
			my ($again) = @_;
			clean_up() if $again && @more;
			$proxy->clear;
			$proxy->rule(%$_) for $rule, @more;
			start_query($session, $sql);
			hangs($rule) or return;
			cmp_ok(one($workers), '>', 0, "$where: and so do workers") if $sql eq $by_workers;
			return $pid;
		},
		sub {
			$proxy->clear;
			($out, $messages) = finish_query($session);
		});
	$proxy->clear;
	like($messages, qr/57014: canceling statement due to user request/, "$where: as a cancelled query");
	is($out, '', "$where: no result");
	# What a dead store keeps, the next export to the same place removes.
	is(clean_up(), 1, "$where: the next export cleans up") if @more;
	is(untouched(), '0|0|0', "$where: nothing is left half done");
	is_deeply([ $s3->uploads(key('out/')) ], [], "$where: no upload is left");
	is(one($workers), '0', "$where: no worker is left");
	is($session->query('SELECT 1'), '1', "$where: the session goes on");
	is(remote_fds($pid), $fds, "$where: no descriptor is left");
}

# Nor does one that has failed keep anybody waiting while it takes back its upload.
{
	my $failing = $export =~ s/SELECT i,/SELECT 1 \/ (400000 - i),/r;
	my $messages;
	stops_at_once($node, cancel => 'after an error',
		sub {
			$proxy->clear;
			$proxy->rule(method => 'DELETE', @dead);
			start_query($session, $failing);
			return ok($proxy->wait_stalled, 'after an error: the upload cannot be taken back') ? $pid : undef;
		},
		sub {
			$proxy->clear;
			(undef, $messages) = finish_query($session);
			clean_up();
		});
	like($messages, qr/22012: division by zero/, 'after an error: that is what is told');
	is_deeply([ $s3->uploads(key('out/')) ], [], 'after an error: the next export cleans up');
	is(untouched(), '0|0|0', 'after an error: nothing is left half done');
}

# statement_timeout goes the same way.
$proxy->rule(method => 'GET', target => $objects, skip => 2, action => 'stall', at => 'body', bytes => 50000);
my ($out) = $session->query("SET statement_timeout = '300ms';\n$ingest;\nRESET statement_timeout;");
my (undef, $messages) = finish_query($session);
like($messages, qr/57014: canceling statement due to statement timeout/, 'statement_timeout stops a transfer');
is(untouched(), '0|0|0', 'statement_timeout: nothing is left half done');
is(remote_fds($pid), $fds, 'statement_timeout: no descriptor is left');
$proxy->clear;

# A subtransaction takes the cancel as any error.
$proxy->rule(method => 'GET', target => $objects, action => 'stall', at => 'request');
start_query($session, "DO \$\$ BEGIN PERFORM * FROM stedi.ingest('accelerometer'); EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'caught'; END \$\$");
ok($proxy->wait_stalled, 'a query inside of a block hangs');
one("SELECT pg_cancel_backend($pid)");
(undef, $messages) = finish_query($session);
like($messages, qr/caught/, 'the block catches the cancel');
$proxy->clear;
is(remote_fds($pid), $fds, 'no descriptor is left after a caught cancel');
is($session->query('SELECT sum(rows_loaded) FROM stedi.ingest(' . quote('accelerometer') . ')'),
	$truth->{kinds}{accelerometer}{records}, 'the session loads everything in the end');
is(remote_fds($pid), $fds, 'and leaves no descriptor');
$session->quit;
one('TRUNCATE stedi.accelerometer_landing; TRUNCATE stedi.object CASCADE');

# Being terminated is no slower.
for my $case (@cases[ 0, 3, 5, 6 ])
{
	my ($where, $sql, $rule, @more) = @$case;
	my $victim;
	stops_at_once($node, terminate => $where,
		sub {
			$proxy->clear;
			$proxy->rule(%$_) for $rule, @more;
			$victim = session($node);
			my $victim_pid = backend_pid($victim);
			start_query($victim, $sql);
			return hangs($rule) ? $victim_pid : undef;
		},
		sub { $victim->{run}->finish });
	$proxy->clear;
	is(untouched(), '0|0|0', "$where: nothing is left half done after that");
}

done_testing();
