
# Networks and servers fail; what can be tried again is, and the result is the
# same as if nothing had happened.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;
use Time::HiRes qw(time);

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('faults', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

my $lines = 40_000;
$s3->put(key('in/one.json'), join '', map { sprintf qq({"n":%d,"payload":"%s"}\n), $_, 'x' x 60 } 1 .. $lines);
my $sum = $lines * ($lines + 1) / 2;

my %get = (method => 'GET', target => 'one[.]json');
my %list = (method => 'GET', target => 'list-type=2');
my %head = (method => 'HEAD', target => 'one[.]json');
my %put = (method => 'PUT', target => 'out/part');
my $read = 'SELECT count(*), sum((value ->> ' . quote('n') . ')::int) FROM stedi.read_json(' . quote(uri('in/')) . ')';
my $exact = $read =~ s{in/}{in/one.json}r;
my $write = 'SELECT rows FROM stedi.export_query(' . quote("SELECT i AS n FROM generate_series(1, $lines) AS i") . ', '
  . quote(uri('out/')) . ", mode => 'overwrite')";
my $parts = 'SELECT rows FROM stedi.export_query('
  . quote("SELECT i AS n, repeat(md5(i::text), 16) AS payload FROM generate_series(1, $lines) AS i")
  . ', ' . quote(uri('out/')) . ", mode => 'overwrite')";
my $good = "$lines|$sum";

# What the last export wrote.
sub written { return one($read =~ s{in/}{out/}r) }

# A fault that passes; returns the requests that the rule's pattern matched.
sub survives
{
	my ($what, $sql, $rule, $settings) = @_;
	my $expected = $sql =~ /export/ ? $lines : $good;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$proxy->clear;
	$proxy->rule(%$rule);
	my ($status, $out, $messages) = $node->psql('postgres', ($settings // '') . $sql);
	is($out, $expected, $what) or diag $messages;
	is(scalar(my @faults = $proxy->faults), $rule->{times} // 1, "$what: it did happen");
	my @requests = $proxy->requests(qr/$rule->{method}/, qr/$rule->{target}/);
	$proxy->clear;
	if ($sql =~ /export/)
	{
		is(written(), $good, "$what: what was written is right");
		is_deeply([ $s3->uploads(key('out/')) ], [], "$what: no upload is left");
	}
	return @requests;
}

# One that stays; returns how often it was tried.
sub fails
{
	my ($what, $sql, $rule, $sqlstate, $parts, $settings) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$proxy->clear;
	$proxy->rule(times => 0, %$rule);
	is_error($node, ($settings // '') . $sql, $sqlstate, $what, %{ $parts // {} });
	my $count = () = $proxy->faults;
	$proxy->clear;
	return $count;
}

# Overload and the like.
my @slow = StediProxy::error_reply(503, 'SlowDown');
is(scalar survives('GET: SlowDown twice', $read, { %get, times => 2, @slow }), 3, 'GET: SlowDown twice: three requests');
is(scalar survives('LIST: SlowDown twice', $read, { %list, times => 2, @slow }), 3, 'LIST: SlowDown twice: three requests');
is(scalar survives('HEAD: SlowDown twice', $exact, { %head, times => 2, @slow }), 3, 'HEAD: SlowDown twice: three requests');
is(scalar survives('PUT: SlowDown twice', $write, { %put, times => 2, @slow }), 3, 'PUT: SlowDown twice: three requests');
survives('part: SlowDown twice', $parts, { method => 'PUT', target => 'partNumber=2', times => 2, @slow });
survives('begin of an upload: SlowDown', $parts, { method => 'POST', target => 'uploads', @slow });
survives('end of an upload: SlowDown', $parts, { method => 'POST', target => 'uploadId', @slow });
survives("GET: HTTP status $_", $read, { %get, action => 'reply', status => $_, body => '<html>Oops</html>' }) for 500, 502, 503, 504, 429;
survives('GET: no body at all', $read, { %get, action => 'reply', status => 503 });
survives('GET: RequestTimeout', $read, { %get, StediProxy::error_reply(400, 'RequestTimeout') });
is(fails('SlowDown for good', "SET stedi.max_attempts = 3;\n$read", { %get, @slow }, '53400',
		{ message => qr/overloaded/, detail => qr/SlowDown.*3 attempts/ }), 3, 'max_attempts is kept');
is(fails('a request that is refused', $read, { %get, StediProxy::error_reply(400, 'InvalidRequest') }, '08P01', { detail => qr/InvalidRequest/ }),
	1, 'is not tried again');
my $started = time;
survives('Retry-After', $read, { %get, StediProxy::error_reply(503, 'SlowDown', headers => { 'Retry-After' => '2' }) });
cmp_ok(time - $started, '>=', 2, 'Retry-After is kept');

# Lost connections.
survives('GET: reset', $read, { %get, action => 'reset' });
survives('LIST: reset', $read, { %list, action => 'reset' });
survives('PUT: reset', $write, { %put, action => 'reset' });
survives('PUT: reply lost', $write, { %put, action => 'lose' });
survives('part: reset', $parts, { method => 'PUT', target => 'partNumber=2', action => 'reset' });
survives('LIST: reply cut', $read, { %list, action => 'cut', bytes => 150 });
for my $how (qw(cut reset))
{
	my @requests = survives("GET: $how in the middle", $read, { %get, action => $how, bytes => 1_000_000 });
	is(scalar @requests, 2, "GET: $how in the middle: asked for once more");
	my ($from) = ($requests[1]{range} // '') =~ /^bytes=(\d+)-\d+$/;
	cmp_ok($from // 0, '>=', $how eq 'cut' ? 1_000_000 : 1, "GET: $how in the middle: from there on") or diag explain \@requests;
	cmp_ok($from // 0, '<=', 1_000_000, "GET: $how in the middle: not further");
}
my @requests = survives('GET: cut again and again', $read, { %get, times => 3, action => 'cut', bytes => 700_000 });
is(scalar @requests, 4, 'GET: cut again and again: four requests');

# A server that stops answering.
survives('GET: no answer', $read, { %get, action => 'stall', at => 'request' }, "SET stedi.idle_timeout = '500ms';\n");
survives('GET: no more answer', $read, { %get, action => 'stall', at => 'body', bytes => 1_000_000 }, "SET stedi.idle_timeout = '500ms';\n");
survives('PUT: no answer', $write, { %put, action => 'stall', at => 'request' }, "SET stedi.idle_timeout = '500ms';\n");
$started = time;
is(fails('no answer for good', $read, { %get, action => 'stall', at => 'request' }, '08006', { message => qr/did not answer in time/ },
		"SET stedi.idle_timeout = '500ms';\nSET stedi.max_attempts = 2;\n"), 2, 'no answer for good: tried twice');
cmp_ok(time - $started, '<', 10, 'no answer for good: it does not last');

# Clocks that differ.
my $theirs = time + 600;
my @gmt = gmtime $theirs;
my $date = sprintf '%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $gmt[6] ], $gmt[3],
  (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $gmt[4] ], $gmt[5] + 1900, @gmt[ 2, 1, 0 ];
my @skewed = StediProxy::error_reply(403, 'RequestTimeTooSkewed', headers => { Date => $date });
@requests = survives('LIST: RequestTimeTooSkewed', $read, { %list, @skewed });
cmp_ok(seconds($requests[1]{date}) - seconds($requests[0]{date}), '>=', 590, "it is signed again by the server's clock");
is(fails('RequestTimeTooSkewed for good', $read, { %list, @skewed }, '28000', { hint => qr/clock/ }), 2, 'but once');

sub seconds
{
	my ($hour, $minute, $second) = $_[0] =~ /T(\d\d)(\d\d)(\d\d)Z/;
	return $hour * 3600 + $minute * 60 + $second + ($hour == 0 ? 86400 : 0);
}

# A bucket that lives in another region than the server option says.
my @regions = ('eu-test-7', $ENV{STEDI_S3_REGION});
lake_option($node, 'region', $regions[0]);
my @moved = StediProxy::error_reply(301, 'PermanentRedirect', headers => { 'x-amz-bucket-region' => $regions[1] });
@requests = survives('LIST: another region', $read, { %list, @moved });
is_deeply([ map { $_->{region} } @requests ], \@regions, 'it is signed again for that region');
$proxy->rule(%list, @moved);
one($read);
is_deeply([ map { $_->{region} } $proxy->requests(qr/GET/, qr/one[.]json/) ], [ $regions[1] ], 'and later requests at once');
$proxy->clear;

# The same without a fault, by a server that checks.
my $checks = server_has('region');
is(one($read), $good, 'LIST: a region that the server ' . ($checks ? 'refuses' : 'does not check'));
is_deeply([ map { $_->{region} } $proxy->requests(qr/GET/, qr/list-type=2/) ], [ @regions[ 0 .. $checks ] ],
	$checks ? 'it is signed again for the one in the reply' : 'it is signed once');
if ($checks)
{
	is_error($node, $exact, '08P01', 'HEAD: a reply that cannot name the region', detail => qr/status 400/, hint => qr/region/);
}
else
{
	is(one($exact), $good, 'HEAD: a region that the server does not check');
}
lake_option($node, 'region', $regions[1]);
is(fails('a region that is nonsense', $read,
		{ %list, StediProxy::error_reply(301, 'PermanentRedirect', headers => { 'x-amz-bucket-region' => 'evil.example/' }) }, '08P01'),
	1, 'a region that is nonsense is not believed');

# Listings that make no sense.
sub listing
{
	my ($inside) = @_;
	return (%list, action => 'reply', status => 200, headers => { 'Content-Type' => 'application/xml' },
		body => "<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name>$inside</ListBucketResult>");
}
my $item = '<Contents><Key>' . key('in/one.json') . '</Key><Size>1</Size><ETag>"x"</ETag><LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>';
my $more = '<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>';
fails('a listing that does not advance', 'SELECT count(*) FROM stedi.list_objects(' . quote(uri('in/')) . ')',
	{ listing("$more$item") }, '08P01', { message => qr/not advance|byte order/ });
fails('a listing with a key outside of its prefix', $read,
	{ listing('<IsTruncated>false</IsTruncated>' . $item =~ s{in/one}{out/one}r) }, '08P01', { message => qr/outside of its prefix/ });
fails('a listing that is no XML', $read, { %list, action => 'reply', status => 200, body => 'certainly' }, '08P01');
fails('a listing cut in the middle', $read, { listing("$item</ListBucketResult><Contents>") }, '08P01');
fails('a listing with entities', $read,
	{ %list, action => 'reply', status => 200, body => '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><ListBucketResult><Name>&b;</Name></ListBucketResult>' },
	'08P01');
fails('an object of another size', $read, { %get, action => 'reply', status => 200, body => '{"n":1}', headers => {} }, '58030', { message => qr/bytes/ });

done_testing();
