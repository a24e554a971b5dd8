
# A listing is whole and right, or an error, whatever happens on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediFaults;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('faults', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

my @names = map { sprintf '%03d.json', $_ } 1 .. 20;
$s3->put_many(key('in/'), \@names, '{"n":1}');
my $truth = join ',', map { uri("in/$_") } @names;

my %list = (method => 'GET', target => 'list-type=2');
my $list = q{SELECT string_agg(uri, ',' ORDER BY uri) FROM stedi.list_objects(} . quote(uri('in/')) . ')';

# A page of a made-up listing.
sub page
{
	my ($key, $rest) = @_;
	return '<?xml version="1.0"?><ListBucketResult><Contents><Key>' . $key . '</Key><Size>7</Size><ETag>"x"</ETag>'
	  . "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>$rest</ListBucketResult>";
}
my $more = '<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>';
my $end = '<IsTruncated>false</IsTruncated>';

my %request = (
	what => 'LIST', match => \%list, settings => '', cut => 150, loop => page(key('in/001.json'), $more),
	run => sub { $list },
	whole => sub { is($_[1], $truth, "$_[0]: the listing is whole") },
	none => sub { });
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
	[ '200 with <Error>', 'whole', 2, '08006', 3 ],
	[ 'reply cut', 'whole', 2, '08006', 3 ],
	[ 'silence', 'whole', 2, '08006', 3 ],
	[ 'silence in the body', 'whole', 2, '08006', 3 ],
	[ '1 B/s', 'whole', 2, '08006', 3 ],
	[ 'connection reset', 'whole', 2, '08006', 3 ],
	[ 'reset in the body', 'whole', 2, '08006', 3 ],
	[ 'reply lost', 'whole', 2, '08006', 3 ],
	[ 'looping token', undef, undef, '08P01', 2 ],
	[ 'malformed XML', '08P01', 1 ],
	[ 'huge XML', '54000', 1 ]);
check_matrix('LIST', \@matrix, {
	'one bit flipped' => 'a listing has no checksum: see below for what protects it',
	'Range ignored' => 'a listing is not asked for in ranges',
	'another ETag' => 'a listing has none' });
run_matrix($node, $proxy, \%request, @matrix);

# One bit flipped anywhere in a listing.  Over http nothing can find that out from
# the listing alone; but what is loaded by it is what the objects hold, or nothing.
one('CREATE TABLE t (n int, record_id bigint)');
my %outcomes;
for my $place (map { 67 * $_ } 0 .. 14)
{
	$proxy->clear;
	$proxy->rule(%list, action => 'alter', flip => $place);
	my ($status, $out, $text) = $node->psql('postgres', 'SELECT count(*) FROM stedi.load(' . quote('t') . ', ' . quote(uri('in/')) . ')',
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	my ($sqlstate) = $text =~ /ERROR:\s+(\w{5})/;
	my $rows = one('SET client_min_messages = warning; SELECT count(*) FROM t; TRUNCATE t, stedi.object CASCADE');
	my $outcome = $status == 0 ? "$out objects, $rows rows" : "$sqlstate, $rows rows";
	like($outcome, qr/^20 objects, 20 rows$|^(?:08P01|55000|58030|58P01), 0 rows$/, "a bit flipped in byte $place of a listing") or diag $text;
	$outcomes{$outcome}++;
}
cmp_ok(scalar keys %outcomes, '>', 1, 'bits flipped in a listing: not all alike');
diag join '; ', map { "$_: $outcomes{$_} times" } sort keys %outcomes;

# Clocks that differ: it is signed again by the server's.
sub seconds
{
	my ($hour, $minute, $second) = $_[0] =~ /T(\d\d)(\d\d)(\d\d)Z/;
	return $hour * 3600 + $minute * 60 + $second + ($hour == 0 ? 86400 : 0);
}
my (undef, $rule) = fault_rules('RequestTimeTooSkewed', \%request);
$proxy->clear;
$proxy->rule(%$rule);
is(one($list), $truth, 'another clock: the listing is whole');
my @requests = $proxy->requests(qr/GET/, qr/list-type/);
cmp_ok(seconds($requests[1]{date}) - seconds($requests[0]{date}), '>=', 590, "it is signed again by the server's clock");

# A bucket that lives in another region than the server option says: it is signed
# again for that one, and so are all later requests.
my $read = 'SELECT count(*) FROM stedi.read_json(' . quote(uri('in/')) . ')';
my @regions = ('eu-test-7', $ENV{STEDI_S3_REGION});
lake_option($node, 'region', $regions[0]);
$proxy->clear;
$proxy->rule(%list, StediProxy::error_reply(301, 'PermanentRedirect', headers => { 'x-amz-bucket-region' => $regions[1] }));
is(one($read), '20', 'another region: the data is whole');
is_deeply([ map { $_->{region} } $proxy->requests(qr/GET/, qr/list-type/) ], \@regions, 'it is signed again for that region');
is_deeply([ grep { $_->{region} ne $regions[1] } $proxy->requests(qr/GET/, qr/[.]json/) ], [], 'and later requests at once');

# The same without a fault, by a server that checks.
my $checks = server_has('region');
$proxy->clear;
is(one($read), '20', 'a region that the server ' . ($checks ? 'refuses' : 'does not check'));
is_deeply([ map { $_->{region} } $proxy->requests(qr/GET/, qr/list-type/) ], [ @regions[ 0 .. $checks ] ],
	$checks ? 'it is signed again for the one in the reply' : 'it is signed once');
my $exact = 'SELECT count(*) FROM stedi.read_json(' . quote(uri('in/001.json')) . ')';
if ($checks)
{
	is_error($node, $exact, '08P01', 'HEAD: a reply that cannot name the region', detail => qr/status 400/, hint => qr/region/);
}
else
{
	is(one($exact), '1', 'HEAD: a region that the server does not check');
}
lake_option($node, 'region', $regions[1]);
$proxy->clear;
$proxy->rule(%list, times => 0, StediProxy::error_reply(301, 'PermanentRedirect', headers => { 'x-amz-bucket-region' => 'evil.example/' }));
is_error($node, $list, '08P01', 'a region that is nonsense');
is(scalar($proxy->faults), 1, 'a region that is nonsense is not believed');

# Listings that make no sense.
sub nonsense
{
	my ($what, $body, %parts) = @_;
	$proxy->clear;
	$proxy->rule(%list, times => 0, action => 'reply', status => 200, body => $body);
	is_error($node, $list, '08P01', $what, %parts);
	return;
}
nonsense('a token without an object', "<ListBucketResult>$more</ListBucketResult>", message => qr/not advance/);
nonsense('a listing that goes back', page(key('in/001.json'), $more), message => qr/not in byte order|not advance/);
nonsense('a key outside of the prefix', page(key('out/001.json'), $end), message => qr/outside of its prefix/);
nonsense('a listing that is no XML', 'certainly');
nonsense('a listing with more after it', page(key('in/001.json'), $end) . '<more/>');
nonsense('a listing with entities', '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><ListBucketResult><Name>&b;</Name></ListBucketResult>');

done_testing();
