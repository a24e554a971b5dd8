
# Each object version is loaded exactly once: again, at the same time, after a
# crash, and when an object changes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $node = lake_node('once');
my $s3 = StediS3->new;
my $proxy = StediProxy->new;

sub one { return $node->safe_psql('postgres', $_[0]) }

my $truth = attach_landing($node, $s3, '--clean');
my $kind = $truth->{kinds}{accelerometer};

my $loaded = "$kind->{objects}|$kind->{records}";
my $ingest = q{SELECT count(*), coalesce(sum(rows_loaded), 0) FROM stedi.ingest('accelerometer')};
my ($counts, $all) = counts_once('accelerometer_landing', $kind);

is(one($ingest), $loaded, 'the first ingest loads everything');
is(one($ingest), '0|0', 'the second loads nothing');
is(one($counts), $all, 'each record is there once');
is(one(q{SELECT string_agg(object_id::text, ' ' ORDER BY uri COLLATE "C") = string_agg(object_id::text, ' ' ORDER BY object_id)
		 FROM stedi.object}),
	't', 'objects are numbered in key order');

# Two sessions at once; the first is held up half-way.
one('TRUNCATE stedi.accelerometer_landing; TRUNCATE stedi.object CASCADE');
lake_option($node, 'endpoint', $proxy->endpoint);
my @sessions = map { session($node) } 1 .. 2;
$proxy->rule(method => 'GET', target => 'accelerometer-.*[.]json', skip => 3, action => 'stall', at => 'request');
start_query($sessions[0], $ingest);
ok($proxy->wait_stalled, 'one session is half-way through');
start_query($sessions[1], $ingest);
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ingest%'}),
	'the other one waits');
is(one('SELECT count(*) FROM stedi.accelerometer_landing'), '0', 'readers wait for nobody and see nothing yet');
$proxy->release;
is((finish_query($sessions[0]))[0], $loaded, 'the first loads everything');
is((finish_query($sessions[1]))[0], '0|0', 'the second loads nothing');
is(one($counts), $all, 'each record is there once');
$_->quit for @sessions;
$proxy->clear;

# The backend is killed half-way: the server starts again, and so does the load.
one('TRUNCATE stedi.accelerometer_landing; TRUNCATE stedi.object CASCADE');
my $victim = session($node);
my $pid = backend_pid($victim);
$proxy->rule(method => 'GET', target => 'accelerometer-.*[.]json', skip => 4, action => 'stall', at => 'body', bytes => 30000);
start_query($victim, $ingest);
ok($proxy->wait_stalled, 'a session is half-way through');
ok(crash($node, $victim, $pid), 'the server comes back');
$proxy->clear;
is(one('SELECT (SELECT count(*) FROM stedi.accelerometer_landing), (SELECT count(*) FROM stedi.object)'),
	'0|0', 'the killed load left nothing');
is(one($ingest), $loaded, 'after the crash everything is loaded');
is(one($counts), $all, 'each record is there once');

# An object whose content changes is replaced, rows and rejects.
my $name = 'lake/accelerometer/landing/zz.json';
$s3->put(key($name), qq({"user":"one","x":1}\n{"user":"two","x":2}\nbroken\n{"user":"three","x":3}\n));
is(one($ingest), '1|3', 'a new object');
$s3->put(key($name), qq({"user":"four","x":4}\nbroken\nbroken\n{"user":"five","x":5}\n{"user":"six","x":6}\n{"user":"seven","x":7}\n));
is(one($ingest), '1|4', 'the changed object');
is(one(q{SELECT string_agg(email, ' ' ORDER BY email) FROM stedi.accelerometer_landing WHERE x >= 1 AND "timestamp" IS NULL}),
	'five four seven six', 'the new rows have taken the place of the old');
is(one('SELECT status, rows FROM stedi.object WHERE uri = ' . quote(uri($name)) . ' ORDER BY object_id'),
	"replaced|3\npartial|4", 'ledger: both versions');
is(one('SELECT count(*) FROM stedi.reject JOIN stedi.object USING (object_id) WHERE uri = ' . quote(uri($name))),
	'1', 'the rejects are those of the new version');
is(one($ingest), '0|0', 'and nothing is pending');

# The old content comes back: that version counts again.
$s3->put(key($name), qq({"user":"one","x":1}\n{"user":"two","x":2}\nbroken\n{"user":"three","x":3}\n));
is(one($ingest), '1|3', 'the object as it was');
is(one(q{SELECT string_agg(email, ' ' ORDER BY email) FROM stedi.accelerometer_landing WHERE x >= 1 AND "timestamp" IS NULL}),
	'one three two', 'the old rows are back, once');
is(one('SELECT status FROM stedi.object WHERE uri = ' . quote(uri($name)) . ' ORDER BY object_id'),
	"partial\nreplaced", 'ledger: the first version counts, the second does not');

# An object changes after it was listed, before it is read.
$s3->put(key($name), qq({"user":"before","x":1}\n));
$proxy->rule(method => 'GET', target => 'zz[.]json', action => 'stall', at => 'request');
my $reader = session($node);
start_query($reader, q{SELECT status, rows_loaded, first_error FROM stedi.ingest('accelerometer')});
ok($proxy->wait_stalled, 'the object is listed and not yet read');
$s3->put(key($name), qq({"user":"after","x":1}\n{"user":"after","x":2}\n));
$proxy->release;
my ($outcome) = finish_query($reader);
$reader->quit;
like($outcome, qr/^failed\|0\|.*changed since it was listed/, 'an object that changed meanwhile is not loaded');
is(one(q{SELECT string_agg(email, ' ' ORDER BY email) FROM stedi.accelerometer_landing WHERE x >= 1 AND "timestamp" IS NULL}),
	'one three two', 'the rows that were there stay');
is(one($ingest), '1|2', 'the next ingest takes the new version');
is(one(q{SELECT string_agg(email, ' ' ORDER BY email) FROM stedi.accelerometer_landing WHERE x >= 1 AND "timestamp" IS NULL}),
	'after after', 'whole');

# It changes while it is read, and the rest is asked for after a lost connection.
my $line = qq({"user":"big","x":1}\n);
$s3->put(key($name), $line x 100_000);
$proxy->clear;
$proxy->rule(method => 'GET', target => 'zz[.]json', action => 'stall', at => 'body', bytes => 500_000);
$proxy->rule(method => 'GET', target => 'zz[.]json', times => 0, action => 'stall', at => 'request');
$reader = session($node);
start_query($reader, "SET stedi.idle_timeout = '1s'; "
	  . q{SELECT status, rows_loaded, first_error FROM stedi.ingest('accelerometer')});
ok(wait_until('second request', sub { $proxy->requests(qr/GET/, qr/zz[.]json/) == 2 }),
	'the rest of the object is asked for again');
$s3->put(key($name), qq({"user":"big","x":2}\n) x 100_000);
$proxy->clear;
($outcome) = finish_query($reader);
$reader->quit;
like($outcome, qr/^failed\|0\|.*changed since it was listed/, 'two versions are never mixed');
is(one($ingest), '1|100000', 'the next ingest takes the new version');
is(one(q{SELECT x, count(*) FROM stedi.accelerometer_landing WHERE email = 'big' GROUP BY x}), '2|100000', 'whole');
is(one($ingest), '0|0', 'and nothing is pending');

done_testing();
