
# What pg_stat_progress_copy shows while objects are loaded and written.

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
my $node = lake_node('progress', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

my $progress = 'SELECT command, type, relid::regclass, tuples_processed, tuples_excluded, bytes_processed, bytes_total FROM pg_stat_progress_copy';

# One object is loaded, with rejects; of the second only a part is there.
my $records = 10_000;
my $first = qq(broken\n{"id":0}\nbroken\n) . join '', map { qq({"id":$_}\n) } 1 .. $records;
my $second = join '', map { sprintf qq({"id":%d,"padding":"%s"}\n), $_, 'x' x 1000 } 1 .. $records;
$s3->put(key('in/1.json'), $first);
$s3->put(key('in/2.json'), $second);
one('CREATE TABLE target (id int, record_id bigint)');
$proxy->rule(method => 'GET', target => '/2[.]json', action => 'stall', at => 'body', bytes => 8_000_000);
my $session = session($node);
start_query($session, q{SELECT status, rows_loaded FROM stedi.load('target', } . quote(uri('in/')) . q{, on_error => 'reject')});
ok($proxy->wait_stalled, 'a load is half-way through');
ok($node->poll_query_until('postgres', 'SELECT tuples_processed > ' . ($records + 4000) . ' FROM pg_stat_progress_copy'),
	'the rows of the object under way are counted, too');
my ($command, $type, $relid, $tuples, $excluded, $bytes, $total) = split /\|/, one($progress);
is("$command $type $relid", 'COPY FROM CALLBACK target', 'a load');
cmp_ok($tuples, '<=', 2 * $records, 'rows so far');
is($excluded, '2', 'rejects so far');
cmp_ok($bytes, '>', length($first), 'bytes so far: of the object under way, too');
cmp_ok($bytes, '<', length($first) + 8_000_001, 'but no more than have come');
is($total, length($first) + length($second), 'bytes in all');
$proxy->clear;
is((finish_query($session))[0], "partial|" . ($records + 1) . "\nloaded|$records", 'it ends');
is(one($progress), '', 'and shows no longer');

# An export, in its second part.
$proxy->rule(method => 'PUT', target => 'partNumber=2', action => 'stall', at => 'request');
start_query($session, q{SET stedi.part_size = '5MB'; SELECT rows FROM stedi.export_query(
	'SELECT i, repeat(md5(i::text), 30) AS x FROM generate_series(1, 20000) AS i', } . quote(uri('out/')) . ')');
ok($proxy->wait_stalled, 'an export is half-way through');
ok($node->poll_query_until('postgres', 'SELECT tuples_processed > 5000 FROM pg_stat_progress_copy'), 'its rows are counted');
($command, $type, $relid, $tuples, $excluded, $bytes) = split /\|/, one($progress);
is("$command $type", 'COPY TO CALLBACK', 'an export');
cmp_ok($tuples, '<=', 20000, 'rows so far');
cmp_ok($bytes, '>', 5_000_000, 'bytes so far');
$proxy->clear;
is((finish_query($session))[0], '20000', 'it ends');
is(one($progress), '', 'and shows no longer');
$session->quit;

done_testing();
