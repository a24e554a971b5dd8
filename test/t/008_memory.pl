
# The memory of a backend is bounded, whatever the size of an object: 2 GB of
# JSON come out of a gzip of a few MB.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Compress::Zlib;
use IPC::Run;
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $limit_mb = 128;
my $node = lake_node('memory');
my $s3 = StediS3->new;

sub one { return $node->safe_psql('postgres', $_[0]) }

# A gzip file may have many members, and these are all the same.
my $record = '{"id":%d,"payload":"' . join('', map { chr(97 + $_ * 7 % 26) } 1 .. 4000) . '"}' . "\n";
my $block = join '', map { sprintf $record, $_ } 1 .. 16_000;
my $members = int(2 * 1024**3 / length $block) + 1;
my $member = Compress::Zlib::memGzip($block);
my $size = $members * length $block;
my $records = $members * 16_000;
undef $block;
my $file = scratch_dir() . '/large.json.gz';
append_to_file($file, $member x $members);
cmp_ok(-s $file, '<', 100 * 1024**2, 'the object is small');
$s3->put_file(key('large/large.json'), $file);

# Private memory of a process in kB, at its highest until a session has finished.
sub highest
{
	my ($session, $pid, $sql) = @_;
	my $highest = 0;
	start_query($session, "$sql;\n\\echo the end");
	until ($session->{stdout} =~ /the end/)
	{
		my ($now) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
		$highest = $now if $now > $highest;
		$session->{run}->pump_nb;
		sleep 0.01;
		die 'the query takes too long' if $session->{timeout}->is_expired;
	}
	my ($out) = finish_query($session);
	return ($highest, $out =~ s/\s*the end\s*//r);
}

one('CREATE UNLOGGED TABLE large (id int, record_id bigint)');
my $session = session($node);
my $pid = backend_pid($session);

my $started = time;
my ($kb, $out) = highest($session, $pid,
	'SELECT rows_loaded, bytes, rows_rejected FROM stedi.load(' . quote('large') . ', ' . quote(uri('large/')) . ')');
my $seconds = time - $started;
is($out, "$records|$size|0", 'all of it is loaded');
cmp_ok($kb, '<', $limit_mb * 1024, "loading 2 GB takes less than $limit_mb MB");
cmp_ok($kb, '>', 1024, 'the measuring works');
diag sprintf 'load: %d MB of memory, %.1f s, %d MB/s', $kb / 1024, $seconds, $size / 1e6 / $seconds;

# Rows with much in them; nothing of one is left when the next comes.
one('CREATE TABLE wide (id int, payload text)');
($kb, $out) = highest($session, $pid,
	'SELECT rows_loaded FROM stedi.load(' . quote('wide') . ', ' . quote(uri('large/')) . ', dry_run => true)');
is($out, $records, 'all rows are made');
cmp_ok($kb, '<', $limit_mb * 1024, "making rows of 4 kB takes less than $limit_mb MB");

$started = time;
($kb, $out) = highest($session, $pid,
	"SELECT rows, bytes FROM stedi.export_query('SELECT id, repeat(md5(id::text), 8) AS payload FROM large LIMIT 500000', "
	  . quote(uri('export/')) . ')');
$seconds = time - $started;
my ($rows, $bytes) = split /\|/, $out;
is($rows, 500_000 < $records ? 500_000 : $records, 'all of it is exported');
cmp_ok($kb, '<', $limit_mb * 1024, "the export takes less than $limit_mb MB");
diag sprintf 'export: %d MB of memory, %.1f s, %d MB/s', $kb / 1024, $seconds, $bytes / 1e6 / $seconds;

# One record of many MB is a reject, not an allocation.
$s3->put(key('record/one.json'), '{"id":1,"payload":"' . 'x' x 20_000_000 . "\"}\n{\"id\":2}\n");
($kb, $out) = highest($session, $pid,
	'SELECT rows_loaded, rows_rejected FROM stedi.load(' . quote('large') . ', ' . quote(uri('record/')) . ", on_error => 'reject')");
is($out, '1|1', 'a record above stedi.max_record_size is a reject');
cmp_ok($kb, '<', $limit_mb * 1024, "and takes less than $limit_mb MB");
is(one('SELECT sqlstate, byte_length, octet_length(raw) FROM stedi.reject'), '54000|20000021|65536', 'of which the beginning is kept');

# Devices are matched within the memory of maintenance, in as many passes as it takes.
my $n_readings = 2_000_000;
one(<<"SQL");
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id)
SELECT to_timestamp(i), 'device ' || i % 3, i FROM generate_series(1, $n_readings) AS i;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", record_id)
SELECT 'phone ' || i % 7, to_timestamp(i), i FROM generate_series(1, $n_readings) AS i;
SQL
foreach my $memory ([ '1MB', 24 ], [ '32MB', 128 ])
{
	my ($setting, $limit) = @$memory;
	$session->quit;
	$session = session($node);
	$pid = backend_pid($session);
	$session->query("SET work_mem = '64kB'; SET hash_mem_multiplier = 2; SET maintenance_work_mem = '$setting'");
	($kb, $out) = highest($session, $pid,
		'SELECT count(DISTINCT serial_number), count(*), sum(m) FROM stedi.match_devices(1000000), unnest(matched) AS m');
	is($out, "3|21|$n_readings", "devices are matched with $setting");
	cmp_ok($kb, '<', $limit * 1024, "which takes less than $limit MB");
	diag sprintf '%d readings with %s: %d MB of memory', $n_readings, $setting, $kb / 1024;
}
cmp_ok($kb, '>', 48 * 1024, 'and more if it may');
one('TRUNCATE stedi.step_trainer_landing, stedi.accelerometer_landing');

# Many small objects: what one takes is given back before the next.
my $n_small = 2000;
my $small_dir = scratch_dir();
append_to_file("$small_dir/$_.json", qq({"id":$_}\n)) for 1 .. $n_small;
$session->quit;
$session = session($node);
$pid = backend_pid($session);
($kb, $out) = highest($session, $pid,
	'SELECT sum(rows_loaded) FROM stedi.load(' . quote('large') . ', ' . quote("file://$small_dir/") . ')');
is($out, $n_small, 'many small objects are loaded');
cmp_ok($kb, '<', 32 * 1024, 'in 32 MB');
diag sprintf '%d objects: %d MB of memory', $n_small, $kb / 1024;

# More objects than anybody wants to keep in memory are listed, and the ledger is
# asked about each of them.
my $n_listed = 200_000;
my $port;
my $in = '';
my $listing = IPC::Run::start([ 'python3', "$FindBin::RealBin/../s3/listing_server.py", $n_listed ], '<', \$in, '>', \$port);
$listing->pump until defined $port && $port =~ /\n/;
chomp $port;
one(<<"SQL");
CREATE SERVER many FOREIGN DATA WRAPPER stedi
	OPTIONS (scope 's3://many/', endpoint 'http://127.0.0.1:$port', url_style 'path', credentials 'anonymous');
INSERT INTO stedi.source (name, uri, target) VALUES ('many', 's3://many/many/', 'large');
INSERT INTO stedi.object (source, target, uri, etag, size, status)
SELECT 'many', 'large', format('s3://many/many/%s.json', lpad(i::text, 8, '0')), lpad(to_hex(i), 32, '0'), 1, 'loaded'
FROM generate_series(0, $n_listed - 1) AS i;
ANALYZE stedi.object;
SQL
is(one(q{SELECT count(*) FROM stedi.list_objects('s3://many/many/')}), $n_listed, 'there is much to list');
$session->quit;
$session = session($node);
$pid = backend_pid($session);
($kb, $out) = highest($session, $pid, q{SELECT count(*) FROM stedi.ingest('many')});
is($out, '0', 'nothing is pending');
cmp_ok($kb, '<', 32 * 1024, 'which is found out in 32 MB');
diag sprintf '%d listed objects: %d MB of memory', $n_listed, $kb / 1024;
$listing->finish;
$session->quit;

done_testing();
