# Backends under valgrind: loading and exporting, from and to files and S3, with
# damage, errors and cancels on the way.  No memory error with our code on the
# stack, and nothing lost that it allocated.
#
# valgrind knows malloc, which is what core, store and libcurl use.  It does not
# know palloc: this server is not built for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t/lib";
use IO::Compress::Gzip qw(gzip);
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('memcheck', endpoint => $proxy->endpoint, conf => <<'CONF');
autovacuum = off
max_parallel_workers_per_gather = 0
authentication_timeout = 10min
CONF
my $landing = scratch_dir() . '/lake';
my $truth = make_landing($landing);
chmod 0755, scratch_dir();
$s3->sync($landing, key('lake/'));
my $files = "file://$landing";

# What is wrong in the end: a checksum, a value, the middle of a file.
my $text = join '', map { qq({"id":$_,"name":"caf\\u00e9 $_","at":17040672000$_,"x":0.1}\n) } 10 .. 99;
gzip(\$text => \my $packed);
$s3->put(key('good.gz'), $packed);
substr($packed, -5, 1) ^= "\x01";
$s3->put(key('bad.gz'), $packed);
$s3->put(key('bad.json'), qq({"id":1,"name":"x"}\n{"id":2,,}\n{"id":"y"}\n{"id":4,"name":"\xff"}\n{"id":5,"name":"\\u0000"}\n{"id":6));
$s3->put(key('long.json'), '{"id":1,"name":"' . 'x' x 100_000 . qq("}\n{"id":2}\n));

$node->stop;
my $log_offset = -s $node->logfile;
my $logs = scratch_dir() . '/valgrind';
mkdir $logs;
my $server = IPC::Run::start(
	[ 'valgrind', '--quiet', '--vgdb=no', '--trace-children=yes', '--leak-check=full', '--show-leak-kinds=definite',
		'--num-callers=60', '--xml=yes', "--xml-file=$logs/%p.xml",
		'postgres', '-D', $node->data_dir ],
	'<', \undef, '>>', $node->logfile, '2>>', $node->logfile);
END { $server->signal('QUIT') if $server }
$node->wait_for_log(qr/database system is ready to accept connections/, $log_offset);

my $session = session($node);
$session->set_query_timer_restart(0);
my $pid = backend_pid($session);

sub works
{
	my ($name, $sql, $expected) = @_;
	start_query($session, $sql);
	my ($out, $messages) = finish_query($session);
	return is($out, $expected, $name) || diag $messages;
}

sub fails
{
	my ($name, $sql, $pattern) = @_;
	start_query($session, $sql);
	my (undef, $messages) = finish_query($session);
	return like($messages, $pattern, $name);
}

sub cancelled
{
	my ($name, $sql, @rule) = @_;
	$proxy->rule(@rule);
	start_query($session, $sql);
	ok($proxy->wait_stalled, "$name: it hangs");
	kill 'INT', $pid;
	my (undef, $messages) = finish_query($session);
	$proxy->clear;
	return like($messages, qr/57014/, "$name: cancelled");
}

my ($lake, $good, $bad, $out) = map { quote(uri($_)) } 'lake', 'good.gz', 'bad.json', 'out/';
my $readings = $truth->{kinds}{accelerometer}{records};
my $loaded = 'SELECT sum(rows_loaded), sum(rows_rejected) > 0 FROM';

works('a table', 'CREATE TABLE t (id int, name text, at timestamptz, x float8, rescued jsonb, record_id bigint)', '');
for my $root ([ 'S3', $lake ], [ 'files', quote($files) ])
{
	my ($where, $uri) = @$root;
	works("$where: attach", "SELECT stedi.attach($uri)", '');
	works("$where: ingest", "$loaded stedi.ingest('accelerometer')", "$readings|t");
	works("$where: the job", 'CALL stedi.run()', '');
	works("$where: a table again", 'TRUNCATE stedi.accelerometer_landing, stedi.step_trainer_landing, stedi.customer_landing', '');
}

works('gzip', "$loaded stedi.load('t', $good)", '90|f');
works('rejects', "SELECT sum(rows_loaded), sum(rows_rejected) FROM stedi.load('t', $bad, on_error => 'reject')", '1|5');
works('records as jsonb', "SELECT count(*), min(value ->> 'name') FROM stedi.read_json($good)", "90|caf\xc3\xa9 10");
works('records as rows', "SELECT count(at), sum(id) FROM stedi.read_json(NULL::t, $good)", '90|4905');
works('the list', 'SELECT count(*) FROM stedi.list_objects(' . quote(uri('*.json')) . ')', 2);
works('csv, gzip', "SELECT sum(rows) FROM stedi.export_query('SELECT id, name, at, x, rescued FROM t', $out, format => 'csv', compression => 'gzip')", 91);
works('a multipart upload', "SELECT count(*), sum(rows) FROM stedi.export_query('SELECT i, repeat(md5(i::text), 100) AS m FROM generate_series(1, 4000) AS i', $out, mode => 'overwrite')", '1|4000');
works('erasure', q{SELECT count(*) > 0 FROM stedi.forget('nobody@example.com')}, 't');

works('a small limit', q{SET stedi.max_record_size = '8kB'}, '');
fails('a record that is too large', 'SELECT * FROM stedi.load(' . quote('t') . ', ' . quote(uri('long.json')) . ')', qr/54000/);
fails('a damaged record', "SELECT * FROM stedi.load('t', $bad, force => true)", qr/22032/);
fails('a damaged gzip', 'SELECT * FROM stedi.read_json(' . quote(uri('bad.gz')) . ')', qr/58030/);
fails('no object', 'SELECT * FROM stedi.read_json(' . quote(uri('nothing')) . ')', qr/58P01/);
fails('a query that fails within an export', "SELECT * FROM stedi.export_query('SELECT 1 / (2000 - i), repeat(md5(i::text), 100) FROM generate_series(1, 4000) AS i', $out, mode => 'overwrite')", qr/22012/);
$proxy->rule(method => 'GET', target => 'good.gz', times => 0, StediProxy::error_reply(403, 'AccessDenied'));
fails('no access', "SELECT * FROM stedi.read_json($good)", qr/42501/);
$proxy->clear;

cancelled('in an object', "SELECT * FROM stedi.load('t', $good, force => true)",
	method => 'GET', target => 'good.gz', action => 'stall', at => 'body', bytes => 100);
cancelled('in an upload', "SELECT * FROM stedi.export_query('SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 4000) AS i', $out, mode => 'overwrite')",
	method => 'PUT', target => 'partNumber=2', action => 'stall', at => 'upload', bytes => 50_000);
works('and on it goes', "SELECT count(*) FROM stedi.read_json($good)", 90);
$session->quit;

ok(wait_until('the report of the backend', sub { -e "$logs/$pid.xml" && slurp_file("$logs/$pid.xml") =~ m{</valgrindoutput>} }),
	'valgrind has finished with the backend');
$server->signal('INT');
$server->finish;
undef $server;

my @reports = map { slurp_file($_) } glob "$logs/*.xml";
is(scalar(grep { !m{</valgrindoutput>} } @reports), 0, 'and with all others');
my @ours = grep { m{<obj>[^<]*/stedi\.so</obj>} } map { m{<error>.*?</error>}gs } @reports;
is(scalar @ours, 0, 'no error and no leak in our code');
diag join "\n", map { readable($_) } @ours;

sub readable
{
	my ($error) = @_;
	my ($what) = $error =~ m{<(?:what|text)>(.*?)<};
	my @frames = map { join ' ', "\n  ", m{<(?:fn|file|line)>(.*?)<}g } $error =~ m{<frame>(.*?)</frame>}gs;
	return $what . join '', @frames;
}

done_testing();
