
# What transfers cost where each request takes a while or each connection carries
# only so much: the work goes on meanwhile.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use IPC::Open2;
use Test::More;
use Time::HiRes qw(time);

use StediProxy;
use StediS3;
use StediTest;

my $node = lake_node('transfers');
my $s3 = StediS3->new;
my $proxy = StediProxy->new;
$node->safe_psql('postgres', 'CREATE TABLE target (a int, pad text, record_id bigint)');

sub seconds_of_load
{
	my ($settings, $uri, $rows) = @_;
	$node->safe_psql('postgres', 'TRUNCATE target, stedi.object, stedi.reject');
	my $start = time;
	is($node->safe_psql('postgres', "$settings; SELECT sum(rows_loaded) FROM stedi.load('target', "
				. quote($uri) . ')'), $rows, "$rows rows are loaded");
	return time - $start;
}

# 400 small objects, 50 ms each, from a server that has nothing but this latency.
# One after the other they would take 20 s, eight at a time 2.5 s.
my ($objects, $ms) = (400, 50);
my $latency = open2(my $from, my $to, '/usr/bin/python3', "$FindBin::RealBin/../bench/latency_server.py", $objects, 100, $ms);
chomp(my $port = readline $from);
lake_option($node, endpoint => "http://127.0.0.1:$port");
my $small = uri('small/');
my $seconds = seconds_of_load('SET stedi.concurrency = 8', $small, $objects);
cmp_ok($seconds, '<', 0.4 * $objects * $ms / 1000, 'small objects are fetched while others are loaded');
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
syswrite $socket, "GET /connections HTTP/1.1\r\nHost: x\r\n\r\n";
my $reply = "";
sysread $socket, $reply, 1000, length $reply until $reply =~ m{\r\n\r\n(\d+)};
my ($connections) = $reply =~ m{(\d+)$};
cmp_ok($connections, '<=', 1 + 8, 'over a connection each, which is used again');
diag sprintf '%d objects at %d ms: %.1f s, %d connections', $objects, $ms, $seconds, $connections - 1;

# The ledger is looked up, not searched: else many objects take forever.
$node->poll_query_until('postgres', "SELECT n_tup_ins >= $objects FROM pg_stat_all_tables WHERE relid = 'stedi.object'::regclass");
$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
seconds_of_load('SET stedi.concurrency = 8', $small, $objects);
$node->poll_query_until('postgres', "SELECT n_tup_ins >= $objects FROM pg_stat_all_tables WHERE relid = 'stedi.object'::regclass");
is($node->safe_psql('postgres', "SELECT sum(seq_tup_read) FROM pg_stat_all_tables WHERE relid IN ('stedi.object'::regclass, 'stedi.reject'::regclass)"),
	0, 'no object is searched for in the ledger');

close $to;
waitpid $latency, 0;
lake_option($node, endpoint => $proxy->endpoint);

# One large object, 2 MB/s per connection: 10 s in one stream.
my $line = '{"a":1,"pad":"' . 'x' x 185 . "\"}\n";
my $lines = 100_000;
$s3->put(key('large.json'), $line x $lines);
$proxy->clear;
$proxy->rule(action => 'throttle', rate => 2_000_000, times => 0);
$seconds = seconds_of_load("SET stedi.concurrency = 8; SET stedi.prefetch_size = '1MB'", uri('large.json'), $lines);
cmp_ok($seconds, '<', 6, 'a large object is fetched by several ranges at once');
my @ranges = grep { defined $_->{range} } $proxy->requests(qr/GET/, qr/large/);
is(scalar @ranges, 20, 'each of which is asked for once');
is($ranges[0]{agent}, 'stedi/1.0', 'requests say who sends them');
diag sprintf '%d MB at 2 MB/s: %.1f s', $lines * length($line) / 1e6, $seconds;

# And what comes has not been mixed up.
$proxy->clear;
$s3->put(key('numbered.json'), join '', map { sprintf "{\"a\":%d,\"pad\":\"%s\"}\n", $_, 'x' x 150 } 1 .. 60_000);
seconds_of_load("SET stedi.concurrency = 5; SET stedi.prefetch_size = '512kB'", uri('numbered.json'), 60_000);
is($node->safe_psql('postgres', 'SELECT count(*) FROM target WHERE a <> (record_id & 4294967295)'), 0, 'rows are in the order of the object');

done_testing();
