
# A refresh of many readings: how it is planned, what it leaves when it is killed, and
# what concurrently writes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StediTest;
use Test::More;

my $customers = 10_000;
my @zones = qw(customer_trusted accelerometer_trusted customers_curated device_owner
  step_trainer_trusted machine_learning_curated);

my $node = PostgreSQL::Test::Cluster->new('refresh');
$node->init(extra => [ '-E', 'UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_wal_size = 4GB\n");
unlink $node->logfile;    # of an earlier run
$node->start;

sub one { return $node->safe_psql('postgres', $_[0]) }

# 30 moments of each customer, read by phone (three times) and device; half of them
# share.  Claims are right for one in ten, the others share 30 serial numbers.
one(<<"SQL");
CREATE EXTENSION stedi;
INSERT INTO stedi.customer_landing (email, serial_number, last_update_date, share_with_research_as_of_date, record_id)
SELECT 'c' || i || '\@example.com',
	   CASE WHEN i % 10 = 0 THEN 'device ' || i ELSE 'device ' || i % 30 END,
	   to_timestamp(0), CASE WHEN i % 2 = 0 THEN to_timestamp(i) END, i
FROM generate_series(1, $customers) AS i;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT 'c' || i || '\@example.com', to_timestamp(i + moment * 0.001), axis, 0, 0, i * 1000 + moment * 10 + axis
FROM generate_series(1, 30) AS moment, generate_series(1, $customers) AS i, generate_series(1, 3) AS axis;
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id)
SELECT to_timestamp(i + moment * 0.001), 'device ' || i, moment, i * 1000 + moment
FROM generate_series(1, 30) AS moment, generate_series(1, $customers) AS i;
SQL
my $readings = 30 * $customers;

# The plans, as they ran.
my $log = -s $node->logfile;
my ($status, $rows, $messages) = $node->psql('postgres', <<'SQL');
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_analyze = on;
SET auto_explain.log_verbose = on;
SET auto_explain.log_timing = off;
SET auto_explain.log_format = json;
SET log_min_messages = log;
SELECT zone, rows FROM stedi.refresh();
SQL
is($status, 0, 'a refresh of ' . 4 * $readings . ' readings');
is($rows, join("\n",
	'customer_trusted|' . $customers / 2,
	'accelerometer_trusted|' . 3 * $readings / 2,
	'customers_curated|' . $customers / 2,
	"device_owner|$customers",
	'step_trainer_trusted|' . $readings / 2,
	'machine_learning_curated|' . 3 * $readings / 2), 'every device is its wearer\'s');
my @told = $messages =~ /NOTICE:  refresh (\w+: \d+) rows/g;
is_deeply(\@told, [ map { s/\|/: /r } split /\n/, $rows ], 'each zone is told when it is done');

my @plans = plans(substr(slurp_file($node->logfile), $log));
is(scalar(grep { $_->{'Query Text'} =~ /^REFRESH/ } @plans), scalar @zones, 'the plans of all zones are seen');
my (@spilled, @looped, @sent, $parallel, $sinks);
walk($_->{Plan}, $_->{'Query Text'}) for @plans;
is_deeply(\@spilled, [], 'nothing is sorted or hashed on disk');
is_deeply(\@looped, [], 'no reading is looked for once per something else');
cmp_ok($parallel, '>=', 3, 'readings are read in parallel');
is_deeply(\@sent, [], 'no row goes from one process to another to be written');
cmp_ok($sinks, '>=', scalar @zones, 'each zone is written where its rows are made');
is(scalar(grep { $_->{'Query Text'} =~ /^SELECT "timestamp", email/ && ($_->{Plan}{'Workers Launched'} // 0) > 0 } @plans), 1,
	'the readings of phones are matched by several processes');

sub plans
{
	my ($text) = @_;
	return map { decode_json($_) } $text =~ /LOG:  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)/g;
}

sub walk
{
	my ($plan, $query) = @_;
	my $name = "$plan->{'Node Type'} of " . substr($query, 0, 60);
	push @spilled, $name
	  if ($plan->{'Sort Space Type'} // '') eq 'Disk' || ($plan->{'Hash Batches'} // 1) > 1
	  || ($plan->{'HashAgg Batches'} // 1) > 1;
	if (($plan->{'Relation Name'} // '') =~ /^(?:accelerometer|step_trainer)_/)
	{
		push @looped, "$name: $plan->{'Actual Loops'} times" if $plan->{'Actual Loops'} > 4;
		$parallel++ if $plan->{'Parallel Aware'};
	}
	if (($plan->{'Custom Plan Provider'} // '') eq 'stedi sink')
	{
		$sinks++;
		push @sent, "$name: $plan->{'Actual Rows'} rows" if $plan->{'Actual Rows'} > 0;
	}
	walk($_, $query) for @{ $plan->{Plans} // [] };
	return;
}

is(one("SELECT string_agg(relname, ' ') FROM pg_class WHERE relkind = 'm' AND (reltuples, relpages) IS DISTINCT FROM
		((SELECT rows FROM stedi.zone WHERE name = oid), pg_relation_size(oid) / 8192)"), '', 'the planner is told the right sizes');
is(one("SELECT count(DISTINCT tablename) FROM pg_stats WHERE schemaname = 'stedi' AND tablename = ANY ('{@{[join ',', @zones]}}')"),
	scalar @zones, 'and knows statistics of every zone');

# Concurrently, what has not changed is not written.
sub digest
{
	return one(join(' UNION ALL ', map { "SELECT '$_', count(*), sum(hashtextextended(z::text, 0)) FROM stedi.$_ AS z" } @zones) . ' ORDER BY 1');
}
my $places = 'SELECT sum(hashtext(ctid::text || record_id)::bigint) FROM stedi.accelerometer_trusted';
my $before = digest();
my $placed = one($places);
my $wal = one('SELECT pg_current_wal_lsn()');
one('SELECT count(*) FROM stedi.refresh(concurrently => true)');
is(digest(), $before, 'concurrently gives the same');
is(one($places), $placed, 'and every row is where it was');
my $written = one("SELECT pg_current_wal_lsn() - '$wal'");
cmp_ok($written, '<', 1024**2, "little is written: $written bytes");

# One in a hundred withdraws, and one in a hundred is new.
one(<<"SQL");
INSERT INTO stedi.customer_landing (email, last_update_date, record_id)
SELECT 'c' || i || '\@example.com', to_timestamp(1), -i FROM generate_series(100, $customers, 100) AS i;
INSERT INTO stedi.customer_landing (email, last_update_date, share_with_research_as_of_date, record_id)
SELECT 'c' || i || '\@example.com', to_timestamp(1), to_timestamp(i), -i FROM generate_series(101, $customers, 100) AS i;
SQL
one('SELECT count(*) FROM stedi.refresh(concurrently => true)');
my $concurrent = digest();
isnt($concurrent, $before, 'a change shows');
one('SELECT count(*) FROM stedi.refresh()');
is(digest(), $concurrent, 'and plain gives the same');

# A refresh is killed: when it is done but not committed, and in the midst of a zone.
one('DELETE FROM stedi.customer_landing WHERE record_id > ' . $customers / 2);
foreach my $concurrently ('false', 'true')
{
	my $session = session($node);
	my $pid = backend_pid($session);
	$session->query("BEGIN; SELECT count(*) FROM stedi.refresh($concurrently)");
	ok(crash($node, $session, $pid), "killed before the commit, concurrently $concurrently: the server comes back");
	is(digest(), $concurrent, 'and the zones are as before');

	$session = session($node);
	$pid = backend_pid($session);
	start_query($session, "SELECT count(*) FROM stedi.refresh($concurrently)");
	ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks
		WHERE pid = $pid AND relation = 'stedi.machine_learning_curated'::regclass"), 'the last zone is being filled');
	ok(crash($node, $session, $pid), 'killed in the midst of it: the server comes back');
	is(digest(), $concurrent, 'and the zones are as before');
}
one('SELECT count(*) FROM stedi.refresh(concurrently => true)');
$concurrent = digest();
one('SELECT count(*) FROM stedi.refresh()');
is(digest(), $concurrent, 'after that both give the same');

# What is committed stands, with what tells that every page is visible to all.
my $pages = "SELECT string_agg(concat_ws(' ', relname, all_visible, all_frozen, pg_relation_size(oid) / 8192), ', ' ORDER BY oid)
	FROM pg_class, pg_visibility_map_summary(oid) WHERE relkind = 'm'";
my $damage = "SELECT count(*) FROM pg_class, verify_heapam(oid) WHERE relkind = 'm'";
my $unindexed = "SELECT count(bt_index_check(indexrelid, true)) FROM pg_index WHERE indrelid IN (SELECT oid FROM pg_class WHERE relkind = 'm')";
$node->append_conf('postgresql.conf', "wal_level = replica\n");	# all of it is logged
$node->restart;
one('SELECT count(*) FROM stedi.refresh()');
one('CREATE EXTENSION pg_visibility; CREATE EXTENSION amcheck');
my $visible = one($pages);
like($visible, qr/accelerometer_trusted (\d+) \1 \1,/, 'all pages of a zone are visible to all, and frozen');
$node->stop('immediate');
$node->start;
is(one($pages), $visible, 'so they are after a crash');
is(digest(), $concurrent, 'with every row');
is(one($damage), '0', 'no page is damaged');
is(one($unindexed), scalar @zones, 'and every row is in the index');

# Cancelled while it counts.
my $session = session($node);
my $pid = backend_pid($session);
start_query($session, 'SELECT count(*) FROM generate_series(1, 1000) AS i,
	LATERAL (SELECT count(*) FROM stedi.match_devices(64 + i)) AS m');
$node->poll_query_until('postgres', "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid");
one("SELECT pg_cancel_backend($pid)");
my (undef, $error) = finish_query($session);
like($error, qr/57014/, 'matching can be cancelled');
$session->quit;

done_testing();
