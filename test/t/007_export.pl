
# Exports: whole or not there, whatever happens on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Compress::Zlib;
use Digest::MD5 qw(md5_hex);
use JSON::PP;
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('export', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

# Rows that gzip can't make much smaller: 80 bytes each.
my $rows = 'SELECT i, md5(i::text) || md5((-i)::text) AS noise FROM generate_series(1, %d) AS i';

sub export
{
	my ($query, $target, %options) = @_;
	my $more = join '', map { ", $_ => " . quote($options{$_}) } sort keys %options;
	return 'SELECT * FROM stedi.export_query(' . quote($query) . ', ' . quote(uri($target)) . "$more)";
}

sub names { return [ map { s{.*/}{}r } $s3->ls(key($_[0])) ] }
sub parts { return [ grep { /^part-/ } @{ names($_[0]) } ] }
sub manifest { return decode_json($s3->get(key("$_[0]_manifest.json"))) }
sub basenames { return map { s{.*/}{}r } map { (split /\|/)[0] } split /\n/, $_[0] }

# One request for what fits into a part, a multipart upload for more.
my $result = one(export(sprintf($rows, 1000), 'single/'));
my ($name) = basenames($result);
like($name, qr/^part-00000-[0-9a-f]{8}-\d{8}T\d{6}Z-[0-9a-f]{8}[.]ndjson$/, 'name of a file');
unlike($s3->head(key("single/$name"))->{etag}, qr/-/, 'a small file is written with one request');
is(scalar(my @lines = split /\n/, $s3->get(key("single/$name"))), 1000, 'all its rows are there');
is_deeply([ map { "$_->{method} " . ($_->{target} =~ m{([^/]*)$})[0] } $proxy->requests(qr/PUT|POST/, qr/single/) ],
	[ "PUT $name", 'PUT _manifest.json', 'PUT _SUCCESS' ], 'the manifest comes after the files, _SUCCESS last');

$result = one(export(sprintf($rows, 300_000), 'multi/'));
($name) = basenames($result);
like($s3->head(key("multi/$name"))->{etag}, qr/-[34]$/, 'a large file is written in parts');
is((split /\|/, $result)[3], $s3->head(key("multi/$name"))->{etag}, 'the etag is that of the whole');
my $text = $s3->get(key("multi/$name"));
is($text =~ tr/\n//, 300_000, 'all its rows are there');
is(one("SELECT md5(string_agg(format('{\"i\":%s,\"noise\":\"%s\"}', i, noise) || E'\\n', '' ORDER BY i)) FROM ("
		  . sprintf($rows, 300_000) . ') AS r'),
	md5_hex($text), 'byte for byte');
is_deeply([ $s3->uploads(key()) ], [], 'no upload is left open');

# gzip, and files of bounded size.
$result = one(export(sprintf($rows, 1000), 'gzip/', compression => 'gzip'));
($name) = basenames($result);
like($name, qr/[.]ndjson[.]gz$/, 'a gzip file is named so');
is(Compress::Zlib::memGunzip($s3->get(key("gzip/$name"))) =~ tr/\n//, 1000, 'and is one');
is($s3->head(key("gzip/$name"))->{encoding}, undef, 'clients do not unpack it unasked');
is(one('SELECT count(*) FROM stedi.read_json(' . quote(uri('gzip/')) . ')'), '1000', 'and can be read back');
$result = one(export('SELECT i FROM generate_series(1, 300) AS i', 'csv/', format => 'csv'));
like($s3->get(key('csv/' . (basenames($result))[0])), qr/^i\r?\n1\r?\n2\r?\n.*300\r?\n$/s, 'CSV has a header');

$result = one(export(sprintf($rows, 10_000), 'files/', max_file_size => '200kB'));
my @files = basenames($result);
cmp_ok(scalar @files, '>=', 4, 'a file is ended at max_file_size');
is_deeply(parts('files/'), [ sort @files ], 'all of them are there');
cmp_ok($s3->head(key("files/$_"))->{size}, '<=', 300_000, 'and no larger') for @files;
is(one('SELECT count(*), count(DISTINCT value) FROM stedi.read_json(' . quote(uri('files/')) . ')'),
	'10000|10000', 'together they hold the rows');
is_deeply([ map { $_->{key} } @{ manifest('files/')->{objects} } ], \@files, 'the manifest lists them');

# fail, append, overwrite.
is_error($node, export('SELECT 1', 'files/'), '58P02', 'mode fail', message => qr/not empty/, hint => qr/overwrite.*append/);
is_deeply(parts('files/'), [ sort @files ], 'mode fail: all stays as it was');
my @added = basenames(one(export('SELECT 1 AS one', 'files/', mode => 'append')));
is_deeply(parts('files/'), [ sort @files, @added ], 'mode append: the files are added');
is_deeply([ sort map { $_->{key} } @{ manifest('files/')->{objects} } ], [ sort @files, @added ], 'mode append: the manifest lists old and new');
$s3->put(key('files/other.json'), '{"not":"ours"}');
my (undef, undef, $warning) = $node->psql('postgres', export('SELECT 2 AS two', 'files/', mode => 'overwrite'));
like($warning, qr/1 objects? under .* no manifest/, 'mode overwrite: warns of what it leaves');
my @now = @{ manifest('files/')->{objects} };
is(scalar @now, 1, 'mode overwrite: the manifest lists the new file');
is_deeply([ grep { !/^_/ } @{ names('files/') } ], [ sort 'other.json', $now[0]{key} ], 'mode overwrite: the old ones are gone, what is not ours stays');

# No rows is an export, too.
$result = one(export('SELECT 1 AS one WHERE false', 'empty/'));
is((split /\|/, $result)[1], '0', 'no rows: one file');
is_deeply([ map { $_->{rows} } @{ manifest('empty/')->{objects} } ], [0], 'no rows: a manifest');
is_deeply([ grep { /^_/ } @{ names('empty/') } ], [ '_SUCCESS', '_manifest.json' ], 'no rows: _SUCCESS');
is(one('SELECT count(*) FROM stedi.read_json(' . quote(uri('empty/')) . ')'), '0', 'no rows: it can be read');

# An error on the last row, with files written and an upload open.
for my $case ([ 'one upload', {} ], [ 'many files', { max_file_size => '6MB' } ])
{
	my ($what, $options) = @$case;
	is_error($node, export('SELECT i, md5(i::text) || md5((-i)::text) AS noise, 1 / (300000 - i) AS q FROM generate_series(1, 300000) AS i',
			'error/', %$options), '22012', "error on the last row, $what");
	is_deeply(names('error/'), [], "error on the last row, $what: no object");
	is_deeply([ $s3->uploads(key('error/')) ], [], "error on the last row, $what: no upload");
}
one(export('SELECT 1 AS one', 'kept/'));
my $kept = names('kept/');
is_error($node, export('SELECT 1 / (3 - i) FROM generate_series(1, 3) AS i', 'kept/', mode => 'overwrite'), '22012', 'error in an overwrite');
is_deeply(names('kept/'), $kept, 'error in an overwrite: the old export stands');
is(one('SELECT value FROM stedi.read_json(' . quote(uri('kept/')) . ')'), '{"one": 1}', 'and can be read');

# The manifest cannot be written: the files go.
$proxy->rule(method => 'PUT', target => 'late/_manifest', StediProxy::error_reply(403, 'AccessDenied'));
is_error($node, export('SELECT 1 AS one', 'late/'), '42501', 'the manifest is refused');
is_deeply(names('late/'), [], 'the manifest is refused: no object is left');

# Cancelled in the middle of an upload.
my $big = export(sprintf($rows, 300_000), 'stopped/');
my $session = session($node);
my $pid = backend_pid($session);
$proxy->rule(method => 'PUT', target => 'stopped/.*partNumber=2', action => 'stall', at => 'upload', bytes => 50_000);
start_query($session, $big);
ok($proxy->wait_stalled, 'an upload hangs');
is_deeply([ map { s{.*/}{}r =~ s{-.*}{}r } $s3->uploads(key('stopped/')) ], ['part'], 'it is open');
one("SELECT pg_cancel_backend($pid)");
like((finish_query($session))[1], qr/57014/, 'it is cancelled');
$proxy->clear;
is_deeply([ $s3->uploads(key('stopped/')) ], [], 'a cancelled export leaves no upload');
is_deeply(names('stopped/'), [], 'and no object');

# Terminated: no time to clean up; the next export does.
$proxy->rule(method => 'PUT', target => 'stopped/.*partNumber=2', action => 'stall', at => 'upload', bytes => 50_000);
start_query($session, $big);
ok($proxy->wait_stalled, 'an upload hangs again');
# not sooner: it may have had to clean up after the one that was cancelled
$proxy->rule(method => 'DELETE', target => 'stopped/', times => 0, action => 'stall', at => 'request');
kill 'TERM', $pid;
$session->{run}->finish;
$proxy->clear;
is(scalar(my @left = $s3->uploads(key('stopped/'))), 1, 'a terminated export leaves an upload');
my $foreign = 'stopped/part-00000-deadbeef-20200101T000000Z-00000000.ndjson';
$s3->start_upload(key($foreign));
one(export('SELECT 1 AS one', 'stopped/'));
is_deeply([ $s3->uploads(key('stopped/')) ], [ key($foreign) ], "the next export removes it, and nobody else's");
is(scalar @{ parts('stopped/') }, 1, 'and stands');

# An export is killed after a file and before the manifest.
$session = session($node);
$pid = backend_pid($session);
$proxy->rule(method => 'PUT', target => 'killed/_manifest', action => 'stall', at => 'request');
start_query($session, export('SELECT 1 AS one', 'killed/'));
ok($proxy->wait_stalled, 'an export hangs before its manifest');
ok(crash($node, $session, $pid), 'the server comes back');
$proxy->clear;
is(scalar @{ parts('killed/') }, 1, 'a file without a manifest is left');
my ($new) = basenames(one(export('SELECT 2 AS two', 'killed/')));
is_deeply(parts('killed/'), [$new], 'the next export, even with mode fail, removes it');

# CompleteMultipartUpload: 200, and yet an error.
$proxy->rule(method => 'POST', target => 'complete/.*uploadId=', times => 0, StediProxy::error_reply(200, 'EntityTooSmall'));
is_error($node, export(sprintf($rows, 300_000), 'complete/'), '08P01', 'an error in a 200 of Complete', detail => qr/EntityTooSmall/);
$proxy->clear;
is_deeply([ names('complete/'), [ $s3->uploads(key('complete/')) ] ], [ [], [] ], 'nothing is left of it');
$proxy->rule(method => 'POST', target => 'complete/.*uploadId=', times => 1, StediProxy::error_reply(200, 'InternalError'));
is((split /\|/, one(export(sprintf($rows, 300_000), 'complete/')))[1], '300000', 'one that may pass is tried again');
is(scalar @{ parts('complete/') }, 1, 'and the file is there');

# The reply to Complete is lost, but the file stands.
$proxy->rule(method => 'POST', target => 'lost/.*uploadId=', action => 'lose');
is((split /\|/, one(export(sprintf($rows, 300_000), 'lost/')))[1], '300000', 'a lost reply of Complete is no error');
is(scalar @{ parts('lost/') }, 1, 'the file is there');

# The manifest stands, and then something goes wrong: so do the files that it names.
one(export('SELECT 1 AS one', 'torn/'));
$proxy->rule(method => 'PUT', target => 'torn/_SUCCESS', times => 0, StediProxy::error_reply(403, 'AccessDenied'));
is_error($node, export('SELECT 2 AS two', 'torn/', mode => 'overwrite'), '42501', 'an export that fails after its manifest');
$proxy->clear;
my $named = one(q{SELECT string_agg(o->>'key', ' ') FROM stedi.read_json(} . quote(uri('torn/_manifest.json')) . q{),
	jsonb_array_elements(value->'objects') AS o});
ok((grep { $_ eq $named } @{ parts('torn/') }), 'what the manifest names is there');
one(export('SELECT 3 AS three', 'torn/', mode => 'overwrite'));
is(scalar @{ parts('torn/') }, 1, 'the next export leaves its own file alone');

# Two exports to the same place wait for each other.
my @sessions = map { session($node) } 1 .. 2;
$proxy->rule(method => 'PUT', target => 'both/part', action => 'stall', at => 'request');
start_query($sessions[0], export('SELECT 1 AS one', 'both/', mode => 'overwrite'));
ok($proxy->wait_stalled, 'one export is under way');
start_query($sessions[1], export('SELECT 2 AS two', 'both/', mode => 'overwrite'));
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'the other one waits');
$proxy->release;
finish_query($_) for @sessions;
$_->quit for @sessions;
is(one('SELECT value FROM stedi.read_json(' . quote(uri('both/')) . ')'), '{"two": 2}', 'and then takes its place');

done_testing();
