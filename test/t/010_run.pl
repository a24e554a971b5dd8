
# CALL stedi.run(): the whole job in bounded transactions, one at a time.

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
my $node = lake_node('run', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

# Everything as it was before the first run.
sub empty
{
	one('TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
		 TRUNCATE stedi.object CASCADE; SELECT count(*) FROM stedi.refresh()');
	return;
}

my $landing = scratch_dir();
my $truth = make_landing($landing, '--clean');
$s3->sync($landing, key('lake/'));
one('SELECT stedi.attach(' . quote(uri('lake')) . ')');
my $customers = $truth->{kinds}{customer};
my $zones = $truth->{zones}{exact_email};

# The job.
my ($status, undef, $messages) = $node->psql('postgres', 'CALL stedi.run(max_objects => 2)');
is($status, 0, 'run() runs');
for my $kind (sort keys %{ $truth->{kinds} })
{
	my $expected = $truth->{kinds}{$kind};
	like($messages, qr/NOTICE:  ingest $kind: $expected->{objects} objects, $expected->{records} rows loaded, 0 rejected, 0 objects failed/,
		"it says what it loaded: $kind");
	my $batches = int(($expected->{objects} + 1) / 2);
	is(one("SELECT count(DISTINCT xmin::text) FROM stedi.object WHERE source = '$kind'"), $batches,
		"two objects per transaction: $kind");
}
like($messages, qr/NOTICE:  refresh machine_learning_curated: $zones->{machine_learning_curated} rows/, 'it says what it built');
like($messages, qr/NOTICE:  export .*machine_learning_curated\/: $zones->{machine_learning_curated} rows in 1 files?/, 'it says what it exported');
is(one('SELECT count(*) FROM stedi.read_json(' . quote(uri('lake/machine_learning_curated/')) . ')'),
	$zones->{machine_learning_curated}, 'the export is there');
is(one('CALL stedi.run()'), '', 'it runs again');
is(one('SELECT count(*) FROM stedi.customer_landing'), $customers->{records}, 'and loads nothing twice');
is(scalar(grep { /part-/ } $s3->ls(key('lake/machine_learning_curated/'))), 1, 'the new export has taken the place of the old');
is_error($node, "BEGIN;\nCALL stedi.run();", '2D000', 'inside of a transaction block');

# A source that stops half-way: what was committed stays, the other sources go on, and
# the next run goes on from there.
empty();
my @objects = sort grep { /customer/ } $s3->ls(key('lake/'));
my $good = $s3->get($objects[3]);
$s3->put($objects[3], "broken\n$good");
one(q{UPDATE stedi.source SET on_error = 'stop' WHERE name = 'customer'});
is_error($node, 'CALL stedi.run(max_objects => 1)', '38000', 'a damaged object of a source that stops',
	message => qr/1 of 3 sources/);
is(one('SELECT string_agg(uri, chr(10) ORDER BY object_id) FROM stedi.object WHERE source = ' . quote('customer') . q{ AND status = 'loaded'}),
	join("\n", map { 's3://' . bucket() . "/$_" } @objects[ 0 .. 2 ]), 'the batches before it are kept');
is(one(q{SELECT count(*) FROM stedi.object WHERE source = 'accelerometer' AND status = 'loaded'}),
	$truth->{kinds}{accelerometer}{objects}, 'and so are the sources before it');
is(one('SELECT count(*) FROM stedi.step_trainer_landing'), $truth->{kinds}{step_trainer}{records}, 'and those after it');
is(one(q{SELECT count(*) FROM pg_locks WHERE locktype IN ('object', 'advisory') AND pid <> pg_backend_pid()}), '0', 'the lock is let go');

empty();
(undef, undef, $messages) = $node->psql('postgres', 'CALL stedi.run()');
like($messages, qr/NOTICE:  ingest customer: 0 objects, 0 rows loaded, 0 rejected/, 'what was rolled back is not counted');
is(one('SELECT count(*) FROM stedi.customer_landing'), '0', 'and is not there');

# A damaged object of a source that skips: the others are loaded, and it is said.
one(q{UPDATE stedi.source SET on_error = 'skip_object' WHERE name = 'customer'});
($status, undef, $messages) = $node->psql('postgres', 'CALL stedi.run(max_objects => 1)');
is($status, 0, 'an object that fails is no error');
like($messages, qr/WARNING:  object s3:.*\Q$objects[3]\E was not loaded\nDETAIL:  record 1, line 1/, 'but a warning');
like($messages, qr/NOTICE:  ingest customer: \d+ objects, \d+ rows loaded, \d+ rejected, 1 objects? failed/, 'and counted');
is(one(q{SELECT count(*) FILTER (WHERE status = 'loaded'), count(*) FILTER (WHERE status = 'failed') FROM stedi.object WHERE source = 'customer'}),
	($customers->{objects} - 1) . '|1', 'the others are loaded');
is(one('SELECT count(*) FROM stedi.step_trainer_landing'), $truth->{kinds}{step_trainer}{records}, 'and the sources after it');
my $sent = $good =~ tr/\n//;
is(one('SELECT count(*) FROM stedi.customer_landing'), $customers->{records} - $sent, 'nothing of the damaged one');
$s3->put($objects[3], $good);
one('CALL stedi.run()');
is(one('SELECT count(*) FROM stedi.customer_landing'), $customers->{records}, 'once it is mended, it is loaded');

# An object that can't be read at all.
empty();
$proxy->rule(method => 'GET', target => 'customer-.*2000[.]json', times => 0, StediProxy::error_reply(403, 'AccessDenied'));
($status, undef, $messages) = $node->psql('postgres', 'CALL stedi.run()');
is($status, 0, 'an object that is denied is no error');
like($messages, qr/WARNING:  object .*customer-.*2000[.]json was not loaded\nDETAIL:  permission denied/, 'but a warning');
is(one(q{SELECT status, count(*) FROM stedi.object WHERE source = 'customer' GROUP BY 1 ORDER BY 1}),
	'failed|1' . "\nloaded|" . ($customers->{objects} - 1), 'the others are loaded');
$proxy->clear;
one('CALL stedi.run()');
is(one('SELECT count(*) FROM stedi.customer_landing'), $customers->{records}, 'the next run loads it');

# One at a time.
empty();
my @sessions = map { session($node) } 1 .. 2;
my $pid = backend_pid($sessions[0]);
$proxy->rule(method => 'GET', target => 'step_trainer-', skip => 3, action => 'stall', at => 'request');
start_query($sessions[0], 'CALL stedi.run(max_objects => 1)');
ok($proxy->wait_stalled, 'a run is under way');
is(one('SELECT count(*) FROM stedi.customer_landing'), $customers->{records}, 'what it has done is visible');
is_error($node, 'CALL stedi.run()', '55006', 'a second run', message => qr/running already/, hint => qr/wait => true/);
start_query($sessions[1], 'CALL stedi.run(wait => true)');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%run(wait%'}),
	'one that is told to wait does');
one("SELECT pg_cancel_backend($pid)");
like((finish_query($sessions[0]))[1], qr/57014/, 'the first is cancelled');
$proxy->clear;
(undef, $messages) = finish_query($sessions[1]);
unlike($messages, qr/ERROR/, 'the one that waited runs');
like($messages, qr/ingest step_trainer: [1-9]/, 'and does the rest');
is(one('SELECT count(*) FROM stedi.step_trainer_landing'), $truth->{kinds}{step_trainer}{records}, 'everything is loaded');
(undef, $messages) = (start_query($sessions[0], 'CALL stedi.run()'), finish_query($sessions[0]))[ -2, -1 ];
unlike($messages, qr/ERROR/, 'the session that was cancelled can run again');
is(one(q{SELECT count(*) FROM pg_locks WHERE locktype IN ('object', 'advisory') AND pid <> pg_backend_pid()}), '0', 'no lock is left');
$_->quit for @sessions;

# A store that is gone stops a source, not object by object.
empty();
$proxy->rule(method => 'GET', target => 'accelerometer-', times => 0, action => 'reset');
is_error($node, "SET stedi.max_attempts = 1;\nCALL stedi.run()", '38000', 'the store goes away');
cmp_ok(one(q{SELECT count(*) FROM stedi.object WHERE status = 'failed'}), '<=', 3, 'it is given up soon');
$proxy->clear;
one('CALL stedi.run()');
is(one('SELECT count(*) FROM stedi.accelerometer_landing'), $truth->{kinds}{accelerometer}{records}, 'when it is back, all is loaded');

done_testing();
