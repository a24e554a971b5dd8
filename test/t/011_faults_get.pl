
# Objects are read whole and right, or not at all, whatever happens on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Digest::MD5 qw(md5_hex);
use PostgreSQL::Test::Utils;
use StediFaults;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;
use Time::HiRes qw(time);

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('faults', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

# What was loaded since the last call, and the ledger's rows about it.
one(<<'SQL');
CREATE TABLE t (n int, payload text, record_id bigint);
CREATE FUNCTION take_out(OUT data text, OUT ledger text) LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
	SELECT count(*) || ' ' || coalesce(md5(string_agg(n || payload, '' ORDER BY n)), '') INTO data FROM t;
	SELECT coalesce(string_agg(status || rejects, ' '), '') INTO ledger FROM stedi.object;
	TRUNCATE t, stedi.object CASCADE;
END
$$;
SQL

my $lines = 20_000;
my @rows = map { [ $_, 'x' x 40 . $_ ] } 1 .. $lines;
my $body = join '', map { qq({"n":$_->[0],"payload":"$_->[1]"}\n) } @rows;
my $truth = "$lines " . md5_hex(join '', map { @$_ } @rows);
$s3->put(key('in/one.json'), $body);
my $etag = $s3->head(key('in/one.json'))->{etag};
is($etag, md5_hex($body), 'the ETag of an object that was written with one request is its MD5');

my %get = (method => 'GET', target => 'one[.]json');
my $cut = 1_000_000;
my %request = (
	what => 'GET', match => \%get, settings => '',
	cut => $cut, flip => 700_000, etag => $etag, body => $body,
	before => {
		'Range ignored' => [ { %get, action => 'cut', bytes => $cut } ],
		'another ETag' => [ { %get, action => 'cut', bytes => $cut } ],
	},
	run => sub { 'SELECT rows_loaded FROM stedi.load(' . quote('t') . ', ' . quote(uri('in/')) . ')' },
	whole => sub {
		my ($name, $out) = @_;
		is($out, $lines, "$name: rows that are told");
		is(one('SELECT * FROM take_out()'), "$truth|loaded0", "$name: the data is whole");
	},
	none => sub { is(one('SELECT * FROM take_out()'), '0 |', "$_[0]: nothing is loaded") });

my @matrix = (
	[ '500', 'whole', 2, '08006', 3 ],
	[ '502', 'whole', 2, '08006', 3 ],
	[ '503 SlowDown', 'whole', 2, '53400', 3 ],
	[ '429', 'whole', 2, '53400', 3 ],
	[ '503 without a body', 'whole', 2, '53400', 3 ],
	[ '503 with HTML', 'whole', 2, '53400', 3 ],
	[ '400 RequestTimeout', 'whole', 2, '08006', 3 ],
	[ '400 ExpiredToken', '28000', 1 ],
	[ 'RequestTimeTooSkewed', 'whole', 2, '28000', 2 ],
	[ '301 with a region', 'whole', 2, '08P01', 2 ],
	[ '301 to another host', '08P01', 1 ],
	[ '200 with <Error>', '58030', 1 ],
	[ 'reply cut', 'whole', 2, 'whole', 2 ],    # each time some more of it comes
	[ 'one bit flipped', '58030', 1 ],
	[ 'Range ignored', 'whole', 2, 'whole', 2 ],
	[ 'another ETag', '55000', 2 ],
	[ 'silence', 'whole', 2, '08006', 3 ],
	[ 'silence in the body', 'whole', 2, 'whole', 2 ],
	[ '1 B/s', 'whole', 2, '08006', 3 ],
	[ 'connection reset', 'whole', 2, '08006', 3 ],
	[ 'reset in the body', 'whole', 2 ],
	[ 'reply lost', 'whole', 2, '08006', 3 ]);
check_matrix('GET', \@matrix, {
	'looping token' => 'only listings have one',
	'malformed XML' => 'the body is not XML',
	'huge XML' => 'the body is not XML' });
run_matrix($node, $proxy, \%request, @matrix);

# Damage is no data: nothing is loaded of the object, nor rejected, whatever is to
# be done about errors in it; and the next time it is loaded.
my (undef, $damage) = fault_rules('one bit flipped', \%request);
for my $on_error (qw(reject skip_object))
{
	my $load = 'SELECT status, rows_loaded, first_error FROM stedi.load(' . quote('t') . ', ' . quote(uri('in/')) . ", on_error => '$on_error')";
	$proxy->rule(%$damage);
	like(one($load), qr/^failed\|0\|object .* was damaged on its way \(The ETag is $etag, the MD5 /, "$on_error: a damaged object has failed");
	is(one('SELECT count(*), (SELECT count(*) FROM stedi.reject) FROM t'), '0|0', "$on_error: nothing is loaded or rejected");
	like(one($load), qr/^loaded\|$lines\|$/, "$on_error: the next time it is loaded");
	is(one('SELECT data FROM take_out()'), $truth, "$on_error: the data is whole");
}
$proxy->rule(%$damage);
is_error($node, 'SELECT count(*) FROM stedi.read_json(' . quote(uri('in/')) . ", on_error => 'skip')", '58030', 'read_json: a damaged object');

# A body that breaks is continued where it broke.
my $read = 'SELECT count(*), sum((value ->> ' . quote('n') . ')::int) FROM stedi.read_json(' . quote(uri('in/')) . ')';
my $good = $lines . '|' . $lines * ($lines + 1) / 2;
for my $how (qw(cut reset))
{
	$proxy->clear;
	$proxy->rule(%get, action => $how, bytes => $cut);
	is(one($read), $good, "$how in the body: the data is whole");
	my @requests = $proxy->requests(qr/GET/, qr/one[.]json/);
	my ($from) = ($requests[1]{range} // '') =~ /^bytes=(\d+)-\d+$/;
	cmp_ok($from // 0, '>=', $how eq 'cut' ? $cut : 1, "$how in the body: what has come is not asked for again") or diag explain \@requests;
	cmp_ok($from // 0, '<=', $cut, "$how in the body: nor is a byte left out");
}
$proxy->clear;
$proxy->rule(%get, times => 3, action => 'cut', bytes => 400_000);
is(one($read), $good, 'cut again and again: the data is whole');
is(scalar($proxy->requests(qr/GET/, qr/one[.]json/)), 4, 'cut again and again: four requests');

# What the server says about waiting is kept to.
$proxy->clear;
$proxy->rule(%get, StediProxy::error_reply(503, 'SlowDown', headers => { 'Retry-After' => '2' }));
my $started = time;
is(one($read), $good, 'Retry-After: the data is whole');
cmp_ok(time - $started, '>=', 2, 'Retry-After is kept');

# Looking up one object.
my $exact = $read =~ s{in/}{in/one.json}r;
my %head = (method => 'HEAD', target => 'one[.]json');
for my $fault ('503 SlowDown', 'silence', 'connection reset', 'reply lost')
{
	my ($settings, $rule) = fault_rules($fault, { match => \%head });
	$proxy->clear;
	$proxy->rule(%$rule);
	is(one("$settings$exact"), $good, "HEAD: $fault: the data is whole");
	is(scalar($proxy->requests(qr/HEAD/, qr/one[.]json/)), 2, "HEAD: $fault: attempts");
}

done_testing();
