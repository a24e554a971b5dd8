
# What transfers cost where each request takes a while or each connection carries
# only so much: the work goes on meanwhile.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use StediProxy;
use StediS3;
use StediTest;

my $node = lake_node('transfers');
my $s3 = StediS3->new;
my $proxy = StediProxy->new;
lake_endpoint($node, $proxy->endpoint);
$node->safe_psql('postgres', 'CREATE TABLE target (a int, pad text, record_id bigint)');

sub seconds_of_load
{
	my ($settings, $name, $rows) = @_;
	$node->safe_psql('postgres', 'TRUNCATE target, stedi.object, stedi.reject');
	my $start = time;
	is($node->safe_psql('postgres', "$settings; SELECT sum(rows_loaded) FROM stedi.load('target', "
				. quote(uri($name)) . ')'), $rows, "$rows rows are loaded");
	return time - $start;
}

# 400 small objects, 50 ms each.  One after the other they would take 20 s, eight
# at a time 2.5 s.
my ($objects, $ms) = (400, 50);
$s3->put_many(key('small/'), [ map { sprintf '%04d.json', $_ } 1 .. $objects ], '{"a":1}');
$proxy->rule(action => 'delay', ms => $ms, times => 0);
my $seconds = seconds_of_load('SET stedi.concurrency = 8', 'small/', $objects);
cmp_ok($seconds, '<', 0.4 * $objects * $ms / 1000, 'small objects are fetched while others are loaded');
cmp_ok($proxy->connections, '<=', 9, 'over a connection each, which is used again');
diag sprintf '%d objects at %d ms: %.1f s, %d connections', $objects, $ms, $seconds, $proxy->connections;

# The ledger is looked up, not searched: else many objects take forever.
$node->poll_query_until('postgres', "SELECT n_tup_ins >= $objects FROM pg_stat_all_tables WHERE relid = 'stedi.object'::regclass");
$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
seconds_of_load('SET stedi.concurrency = 8', 'small/', $objects);
$node->poll_query_until('postgres', "SELECT n_tup_ins >= $objects FROM pg_stat_all_tables WHERE relid = 'stedi.object'::regclass");
is($node->safe_psql('postgres', "SELECT sum(seq_tup_read) FROM pg_stat_all_tables WHERE relid IN ('stedi.object'::regclass, 'stedi.reject'::regclass)"),
	0, 'no object is searched for in the ledger');

# One large object, 2 MB/s per connection: 10 s in one stream.
my $line = '{"a":1,"pad":"' . 'x' x 185 . "\"}\n";
my $lines = 100_000;
$s3->put(key('large.json'), $line x $lines);
$proxy->clear;
$proxy->rule(action => 'throttle', rate => 2_000_000, times => 0);
$seconds = seconds_of_load("SET stedi.concurrency = 8; SET stedi.prefetch_size = '1MB'", 'large.json', $lines);
cmp_ok($seconds, '<', 6, 'a large object is fetched by several ranges at once');
my @ranges = grep { defined $_->{range} } $proxy->requests(qr/GET/, qr/large/);
is(scalar @ranges, 20, 'each of which is asked for once');
is($ranges[0]{agent}, 'stedi/1.0', 'requests say who sends them');
diag sprintf '%d MB at 2 MB/s: %.1f s', $lines * length($line) / 1e6, $seconds;

# And what comes has not been mixed up.
$proxy->clear;
$s3->put(key('numbered.json'), join '', map { sprintf "{\"a\":%d,\"pad\":\"%s\"}\n", $_, 'x' x 150 } 1 .. 60_000);
seconds_of_load("SET stedi.concurrency = 5; SET stedi.prefetch_size = '512kB'", 'numbered.json', 60_000);
is($node->safe_psql('postgres', 'SELECT count(*) FROM target WHERE a <> (record_id & 4294967295)'), 0, 'rows are in the order of the object');

done_testing();
