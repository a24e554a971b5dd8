
# CALL stedi.run(workers => n): background workers load, and each object is still
# loaded exactly once, whatever happens to the workers or to whoever they work for.

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
my $node = lake_node('workers', endpoint => $proxy->endpoint, conf => "deadlock_timeout = '100ms'\n");

sub one { return $node->safe_psql('postgres', $_[0]) }

my $truth = attach_landing($node, $s3, '--clean');
my $kind = $truth->{kinds}{accelerometer};
one('DELETE FROM stedi.export_target');

my $run = 'CALL stedi.run(workers => 2)';
my ($counts, $all) = counts_once('accelerometer_landing', $kind);
my $objects = 'accelerometer-.*[.]json';
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'stedi worker'};
my @stall = (method => 'GET', target => $objects, skip => 3, action => 'stall', at => 'request');

sub empty
{
	$proxy->clear;
	one('TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
		 TRUNCATE stedi.object CASCADE');
	return;
}

# The ledger and the table say the same, whatever they say.
sub agrees
{
	my ($name) = @_;
	is(one(q{SELECT count(*) FROM
			(SELECT object_id, rows FROM stedi.object WHERE source = 'accelerometer' AND status IN ('loaded', 'partial')) AS o
			FULL JOIN (SELECT record_id >> 32 AS object_id, count(*) AS rows FROM stedi.accelerometer_landing GROUP BY 1) AS l
			USING (object_id) WHERE o.rows IS DISTINCT FROM l.rows}),
		'0', "$name: the ledger agrees with the table");
	return;
}

# Everything is loaded, once, by workers.
my ($status, undef, $messages) = $node->psql('postgres', $run);
is($status, 0, 'it runs');
unlike($messages, qr/could be started/, 'with all workers');
for my $name (sort keys %{ $truth->{kinds} })
{
	my $expected = $truth->{kinds}{$name};
	like($messages, qr/NOTICE:  ingest $name: $expected->{objects} objects, $expected->{records} rows loaded, 0 rejected, 0 objects failed/,
		"it says what it loaded: $name");
}
is(one($counts), $all, 'each record is there once');
agrees('run');
cmp_ok(one(q{SELECT count(DISTINCT xmin::text) FROM stedi.object WHERE source = 'accelerometer'}), '>', 2, 'in several transactions');
is(one($workers), '0', 'no worker is left');
(undef, undef, $messages) = $node->psql('postgres', $run);
like($messages, qr/NOTICE:  ingest accelerometer: 0 objects, 0 rows/, 'again: nothing is pending');
is(one($counts), $all, 'and nothing is loaded twice');

# A worker that has nothing to do any more goes on to the next source.
empty();
$proxy->rule(@stall, times => 1);
my $waiting = session($node);
start_query($waiting, $run);
ok($proxy->wait_stalled, 'a worker waits for an object');
ok($node->poll_query_until('postgres', "SELECT count(*) = $truth->{kinds}{step_trainer}{records} FROM stedi.step_trainer_landing"),
	'the other loads the last source');
isnt(one($counts), $all, 'before the first is loaded');
$proxy->clear;
like((finish_query($waiting))[1], qr/ingest accelerometer: $kind->{objects} objects, $kind->{records} rows/, 'then that is, too');
$waiting->quit;
agrees('sources at once');

# While they work: who is who, and other sessions that want the same objects.
empty();
my @sessions = map { session($node) } 1 .. 3;
my $pid = backend_pid($sessions[0]);
$proxy->rule(@stall, times => 0);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'workers are under way');
is(one("SELECT string_agg(DISTINCT leader_pid::text, ' '), count(*) FROM pg_stat_activity WHERE backend_type = 'stedi worker'"),
	"$pid|2", 'two of them, of one leader');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_progress_copy WHERE relid = 'stedi.accelerometer_landing'::regclass}),
	'each shows its progress');
start_query($sessions[1], q{SELECT count(*), coalesce(sum(rows_loaded), 0) FROM stedi.ingest('accelerometer')});
start_query($sessions[2], 'CALL stedi.run(workers => 2, wait => true)');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}),
	'an ingest and another run wait');
my $dump = scratch_dir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '--no-sync', '-f', $dump, $node->connstr('postgres') ], 'a dump does not');
$proxy->clear;
like((finish_query($sessions[0]))[1], qr/ingest accelerometer: $kind->{objects} objects, $kind->{records} rows/, 'the run loads everything');
is((finish_query($sessions[1]))[0], '0|0', 'the ingest nothing');
like((finish_query($sessions[2]))[1], qr/ingest accelerometer: 0 objects/, 'the other run nothing');
is(one($counts), $all, 'each record is there once');
agrees('three sessions');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'the dump can be restored');
is($node->safe_psql('restored', q{SELECT (SELECT coalesce(sum(rows), 0) FROM stedi.object WHERE source = 'accelerometer')
	- (SELECT count(*) FROM stedi.accelerometer_landing)}), '0', 'in which the ledger agrees with the table');

# The leader is cancelled.
stops_at_once($node, cancel => 'a run',
	sub {
		empty();
		$proxy->rule(@stall, times => 0);
		start_query($sessions[0], $run);
		return ok($proxy->wait_stalled, 'a run is half-way through') ? $pid : undef;
	},
	sub {
		is(one($workers), '0', 'no worker outlives its leader');
		like((finish_query($sessions[0]))[1], qr/57014/, 'the run is cancelled');
	});
agrees('cancelled');
$proxy->clear;
start_query($sessions[0], $run);
like((finish_query($sessions[0]))[1], qr/ingest accelerometer: \d+ objects/, 'the session can run again');
is(one($counts), $all, 'and loads the rest, once');

# A worker that takes its time: until it has ended, nobody else may load.
empty();
$proxy->rule(@stall, times => 0);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
my $slow = one(q{SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'stedi worker'});
kill 'STOP', $slow;
one("SELECT pg_cancel_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT ($workers) = 1"), 'one of the workers does not end');
is(one(qq{SELECT state FROM pg_stat_activity WHERE pid = $pid}), 'active', 'nor does the leader');
is(one(qq{SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype = 'object' AND mode = 'ExclusiveLock'
	AND classid = 'pg_class'::regclass AND objid = 'stedi.accelerometer_landing'::regclass}), '1', 'which keeps the table locked against other loads');
kill 'CONT', $slow;
like((finish_query($sessions[0]))[1], qr/57014/, 'then the run is cancelled');
agrees('a slow worker');

# The leader is terminated: its locks go after its workers.
empty();
$proxy->rule(@stall, times => 0);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
start_query($sessions[1], q{SELECT sum(rows_loaded) > 0 FROM stedi.ingest('accelerometer')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'an ingest waits');
one("SELECT pg_terminate_backend($pid)");
$sessions[0]{run}->finish;
ok($node->poll_query_until('postgres', "SELECT ($workers) = 0"), 'the workers go with it');
$proxy->clear;
is((finish_query($sessions[1]))[0], 't', 'the ingest loads what is missing');
is(one($counts), $all, 'each record is there once');
agrees('terminated');

# A worker is terminated: the run says so, and the next does the rest.
empty();
$sessions[0] = session($node);
$proxy->rule(@stall, times => 0);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
one(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'stedi worker' LIMIT 1});
$proxy->clear;
(undef, $messages) = finish_query($sessions[0]);
like($messages, qr/source accelerometer could not be loaded to the end\nDETAIL:  a worker was terminated: what it was loading is rolled back, and loaded by the next run/, 'a worker less is a warning');
like($messages, qr/38000/, 'and an error at the end');
agrees('a worker less');
one($run);
is(one($counts), $all, 'the next run loads the rest, once');

# A worker is cancelled: so is the run.
empty();
$proxy->rule(@stall, times => 0);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
one(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'stedi worker' LIMIT 1});
ok($node->poll_query_until('postgres', "SELECT ($workers) = 1"), 'one of the workers gives up');
$proxy->clear;
like((finish_query($sessions[0]))[1], qr/57014/, 'the run is cancelled');
agrees('a worker cancelled');

# One is killed, and the server starts again.
empty();
$proxy->rule(@stall, times => 0);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
ok(crash($node, $sessions[0], one(q{SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'stedi worker'})), 'the server comes back');
$proxy->clear;
agrees('after the crash');
one($run);
is(one($counts), $all, 'after the crash the rest is loaded, once');
eval { $_->quit } for @sessions;

# Errors of objects and of sources are what they are without workers.
empty();
my @keys = sort grep { /accelerometer/ } $s3->ls(key('lake/'));
my $good = $s3->get($keys[2]);
$s3->put($keys[2], "broken\n$good");
one(q{UPDATE stedi.source SET on_error = 'stop' WHERE name = 'accelerometer'});
is_error($node, $run, '38000', 'a damaged object of a source that stops', message => qr/1 of 3 sources/);
agrees('a source that stops');
is(one('SELECT count(*) FROM stedi.step_trainer_landing'), $truth->{kinds}{step_trainer}{records}, 'the other sources are loaded');
one(q{UPDATE stedi.source SET on_error = 'skip_object' WHERE name = 'accelerometer'});
($status, undef, $messages) = $node->psql('postgres', $run);
is($status, 0, 'an object that is skipped is no error');
like($messages, qr/WARNING:  object s3:.*\Q$keys[2]\E was not loaded\nDETAIL:  record 1, line 1/, 'but a warning');
like($messages, qr/ingest accelerometer: .* 1 objects failed/, 'and counted');
$s3->put($keys[2], $good);
one(q{UPDATE stedi.source SET on_error = 'reject' WHERE name = 'accelerometer'});
one($run);
is(one($counts), $all, 'once it is mended, it is loaded');
$s3->put($keys[2], "$good\n{\"user\":\"new\"}\n");
one($run);
is(one('SELECT count(*), count(DISTINCT record_id) FROM stedi.accelerometer_landing'),
	join('|', ($kind->{records} + 1) x 2), 'an object that has changed is replaced');
agrees('replaced');
$s3->put($keys[2], $good);

# A store that is gone is given up soon, however small the batches.
empty();
$proxy->rule(method => 'GET', target => $objects, times => 0, action => 'reset');
is_error($node, "SET stedi.max_attempts = 1;\n$run", '38000', 'the store goes away');
cmp_ok(one(q{SELECT count(*) FROM stedi.object WHERE status = 'failed'}), '<=', 6, 'each worker gives it up');
$proxy->clear;

# Somebody who keeps the table from the workers and waits for their leader: one of
# them is told so.
empty();
my @stuck = map { session($node) } 1 .. 2;
$proxy->rule(@stall, times => 0);
start_query($stuck[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
start_query($stuck[1], q{BEGIN; LOCK TABLE stedi.object IN ACCESS EXCLUSIVE MODE; SELECT count(*) FROM stedi.ingest('accelerometer'); COMMIT});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'another waits');
$proxy->clear;
my $told = join '', map { (finish_query($_))[1] } @stuck;
unlike($told, qr/57014/, 'nobody hangs');
$_->quit for @stuck;
one($run);
is(one($counts), $all, 'each record is there once');
agrees('stuck');

# The caller's role, though nobody can log in as that one, and settings.
$node->safe_psql('postgres', <<"SQL");
SET log_statement = none;
CREATE ROLE operator NOLOGIN;
GRANT USAGE ON SCHEMA stedi TO operator;
GRANT EXECUTE ON PROCEDURE stedi.run TO operator;
GRANT EXECUTE ON FUNCTION stedi.refresh TO operator;
GRANT USAGE ON FOREIGN SERVER lake TO operator;
CREATE USER MAPPING FOR operator SERVER lake
	OPTIONS (access_key_id '$ENV{STEDI_S3_ACCESS_KEY_ID}', secret_access_key '$ENV{STEDI_S3_SECRET_ACCESS_KEY}');
CREATE TABLE dated (day timestamp, record_id bigint, loaded_by text DEFAULT current_user);
GRANT INSERT ON dated TO operator;
DELETE FROM stedi.source;
SQL
$s3->put(key("dated/$_.json"), qq({"day":"0$_/03/2024"}\n)) for 1 .. 4;
one("INSERT INTO stedi.source (name, uri, target) VALUES ('dated', " . quote(uri('dated/')) . ", 'dated')");
($status, undef, $messages) = $node->psql('postgres', "SET ROLE operator;\nSET DateStyle = 'ISO, DMY';\nSET stedi.concurrency = 1;\n$run");
is($status, 0, 'a role that cannot log in can run') or diag $messages;
is(one('SELECT min(day), max(day), min(loaded_by), max(loaded_by), count(*) FROM dated'),
	'2024-03-01 00:00:00|2024-03-04 00:00:00|operator|operator|4', 'with its settings, as itself');
one('REVOKE INSERT ON dated FROM operator; TRUNCATE dated; TRUNCATE stedi.object CASCADE');
is_error($node, "SET ROLE operator;\n$run", '38000', 'without the right to insert');
is(one('SELECT count(*) FROM dated'), '0', 'nothing is loaded');

# A table that takes more than rows is loaded by the leader alone.
one('CREATE TABLE keyed (day text PRIMARY KEY, record_id bigint)');
one(q{UPDATE stedi.source SET target = 'keyed'});
one($run);
is(one('SELECT count(*) FROM keyed'), '4', 'a table with a unique key is loaded, too');
is(one('SELECT count(DISTINCT xmin::text) FROM stedi.object'), '1', 'in one transaction');

# One of the session alone, too.
one('TRUNCATE stedi.object CASCADE');
($status, my $rows) = $node->psql('postgres', "CREATE TEMP TABLE passing (day text, record_id bigint);
UPDATE stedi.source SET target = 'passing';\n$run;\nSELECT count(*) FROM passing; UPDATE stedi.source SET target = 'keyed'");
is($rows, '4', 'a temporary table is loaded, too');

# Two sources, which may have the target in common.
one('CREATE TABLE first (day text, record_id bigint); CREATE TABLE second (LIKE first); CREATE MATERIALIZED VIEW seen AS SELECT 1');
$s3->put(key("two/$_.json"), qq({"day":"$_"}\n)) for 10 .. 39;
my $late = "UPDATE stedi.source SET uri = " . quote(uri('dated/')) . " WHERE name = 'b'";

sub two_sources
{
	my (%targets) = @_;
	$proxy->clear;
	one('TRUNCATE first, second; TRUNCATE stedi.object CASCADE; DELETE FROM stedi.source');
	one("INSERT INTO stedi.source (name, uri, target) VALUES ('$_', " . quote(uri('two/')) . ", '$targets{$_}')") for sort keys %targets;
	return;
}

# The same objects for the same table: those that one loads are not pending for the other.
two_sources(a => 'first', b => 'first');
$proxy->rule(method => 'GET', target => 'two/39', times => 1, action => 'stall', at => 'request');
@sessions = map { session($node) } 1 .. 2;
start_query($sessions[0], 'CALL stedi.run(workers => 4)');
ok($proxy->wait_stalled, 'the last object of a source is waited for');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 29 FROM first'), 'the others are loaded');
sleep 1;
$proxy->clear;
$messages = (finish_query($sessions[0]))[1];
unlike($messages, qr/WARNING|ERROR/, 'the next source of this target waits');
like($messages, qr/ingest a: 30 objects.*ingest b: 0 objects/s, 'and finds nothing pending');
is(one('SELECT count(*), count(DISTINCT record_id), count(DISTINCT day) FROM first'), '30|30|30', 'each record is there once');

# A worker that ends while it has nothing to load is no error of the next source.
for my $end (qw(pg_terminate_backend pg_cancel_backend))
{
	two_sources(a => 'first', b => 'first');
	one($late);
	$proxy->rule(method => 'GET', target => 'two/39', times => 1, action => 'stall', at => 'request');
	start_query($sessions[0], $run);
	ok($proxy->wait_stalled, 'the last object of a source is waited for');
	ok($node->poll_query_until('postgres', "$workers AND state = 'idle'", '1'), 'a worker has nothing to load');
	one("SELECT $end(pid) FROM pg_stat_activity WHERE backend_type = 'stedi worker' AND state = 'idle'");
	ok($node->poll_query_until('postgres', $workers, '1'), "$end: it ends");
	$proxy->clear;
	$messages = (finish_query($sessions[0]))[1];
	unlike($messages, qr/WARNING|ERROR/, 'the run goes on');
	is(one('SELECT count(*) FROM first'), '34', 'and loads everything');
}

# Somebody who takes the targets in another order.
two_sources(a => 'first', b => 'second');
$sessions[1]->query(q{BEGIN; SELECT count(*) FROM stedi.ingest('b')});
$proxy->rule(method => 'GET', target => 'two/39', times => 1, action => 'stall', at => 'request');
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is loading the first target');
start_query($sessions[1], q{SELECT count(*) FROM stedi.ingest('a'); COMMIT});
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}),
	'whoever has locked the second waits for it');
sleep 1;
$proxy->clear;
unlike(join('', map { (finish_query($_))[1] } reverse @sessions), qr/WARNING|ERROR/, 'that is no deadlock');
is(one('SELECT (SELECT count(*) FROM first), (SELECT count(*) FROM second)'), '30|30', 'both are loaded, once');

# What became of a source is told, though the run does not end.
two_sources(a => 'seen', b => 'first');
$proxy->rule(method => 'GET', target => 'two/', times => 0, action => 'stall', at => 'request', skip => 1);
$pid = backend_pid($sessions[0]);
start_query($sessions[0], $run);
ok($proxy->wait_stalled, 'a run is half-way through');
one("SELECT pg_cancel_backend($pid)");
like((finish_query($sessions[0]))[1], qr/source a could not be loaded to the end.*57014/s, 'a run that is cancelled has told of a source that failed');

# A target that is dropped is an error of its source.
one('CREATE TABLE brief (LIKE first)');
two_sources(a => 'brief', b => 'first');
$sessions[1]->query('BEGIN; DROP TABLE brief');
start_query($sessions[0], $run);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'a run waits');
$sessions[1]->query('COMMIT');
like((finish_query($sessions[0]))[1], qr/source a could not be loaded.*1 of 2 sources/s, 'a target was dropped');
is(one('SELECT count(*) FROM first'), '30', 'the other source is loaded');
eval { $_->quit } for @sessions;
one(q{DELETE FROM stedi.source WHERE name = 'a'; TRUNCATE stedi.object CASCADE; UPDATE stedi.source SET target = 'dated', uri = } . quote(uri('dated/')));

# Fewer workers than wanted, or none.  The server has some of its own.
one(q{TRUNCATE stedi.object CASCADE; UPDATE stedi.source SET target = 'dated'});
$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->restart;
($status, undef, $messages) = $node->psql('postgres', $run);
is($status, 0, 'with fewer workers it goes on');
like($messages, qr/NOTICE:  1 of 2 workers could be started\nHINT:  max_worker_processes/, 'and says so');
is(one('SELECT count(*) FROM dated'), '4', 'all is loaded');
one('TRUNCATE dated; TRUNCATE stedi.object CASCADE');
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
($status, undef, $messages) = $node->psql('postgres', $run);
is($status, 0, 'with none it goes on');
like($messages, qr/NOTICE:  0 of 2 workers could be started/, 'and says so');
is(one('SELECT count(*) FROM dated'), '4', 'all is loaded');

done_testing();
