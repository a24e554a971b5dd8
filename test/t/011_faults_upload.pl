
# Exports are whole and right, or not there, whatever happens on the way.

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

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('faults', endpoint => $proxy->endpoint);

sub one { return $node->safe_psql('postgres', $_[0]) }

# One file of 1 kB, or of two parts; each export goes to a place of its own.
my %queries = (
	small => q{SELECT i FROM generate_series(1, 100) AS i},
	large => q{SELECT i, repeat(md5(i::text), 16) AS noise FROM generate_series(1, 11000) AS i});
my $place = 0;

sub export
{
	my ($size) = @_;
	$place++;
	return 'SELECT rows FROM stedi.export_query(' . quote($queries{$size}) . ', ' . quote(uri("out/$place/")) . ')';
}

sub names { return join ' ', map { s{.*/}{}r =~ s{^(part-\d+).*}{$1}r } $s3->ls(key("out/$place/")) }
my %truth = (
	small => md5_hex(map { qq({"i":$_}\n) } 1 .. 100),
	large => md5_hex(map { sprintf qq({"i":%d,"noise":"%s"}\n), $_, md5_hex($_) x 16 } 1 .. 11_000));

# What is there after an export that succeeded, and after one that did not.
sub whole
{
	my ($size, $name) = @_;
	my ($part) = grep { m{/part-} } $s3->ls(key("out/$place/"));
	is(names(), '_SUCCESS _manifest.json part-00000', "$name: all files are there");
	is(md5_hex($s3->get($part)), $truth{$size}, "$name: the data is whole");
	is_deeply([ $s3->uploads(key("out/$place/")) ], [], "$name: no upload is left");
	return;
}

sub none
{
	my ($name) = @_;
	is(names(), '', "$name: no file is left");
	is_deeply([ $s3->uploads(key("out/$place/")) ], [], "$name: no upload is left");
	return;
}

one(export('small'));
whole('small', 'one request');
one("SET stedi.part_size = '5MB';\n" . export('large'));
whole('large', 'two parts');

sub request
{
	my ($what, $size, $method, $target, %more) = @_;
	return {
		what => $what, match => { method => $method, target => $target },
		settings => "SET stedi.part_size = '5MB';", flip => 20, cut => 20,
		run => sub { export($size) },
		whole => sub { whole($size, $_[0]) }, none => \&none, %more };
}

my %no_listing = ('looping token' => 'only listings have one');
my %no_reading = (
	'Range ignored' => 'nothing is asked for in ranges',
	'another ETag' => 'what is written has no ETag before');
my %no_reply_body = (
	'reply cut' => 'the reply has no body', 'reset in the body' => 'the reply has no body',
	'malformed XML' => 'the reply has no body', 'huge XML' => 'the reply has no body');
my %no_flip = ('one bit flipped' => 'what it says has no checksum; the bytes of the file have');
my @usual = (
	[ '500', 'whole', 2, '08006', 3 ],
	[ '502', 'whole', 2 ],
	[ '503 SlowDown', 'whole', 2, '53400', 3 ],
	[ '429', 'whole', 2 ],
	[ '503 without a body', 'whole', 2 ],
	[ '503 with HTML', 'whole', 2 ],
	[ '400 RequestTimeout', 'whole', 2, '08006', 3 ],
	[ '400 ExpiredToken', '28000', 1 ],
	[ 'RequestTimeTooSkewed', 'whole', 2, '28000', 2 ],
	[ '301 with a region', 'whole', 2, '08P01', 2 ],
	[ '301 to another host', '08P01', 1 ],
	[ '200 with <Error>', 'whole', 2, '08006', 3 ],
	[ 'silence', 'whole', 2, '08006', 3 ]);

my @put = (@usual,
	[ 'one bit flipped', 'whole', 2, '58030', 3 ],
	[ 'silence in the body', 'whole', 2 ],
	[ '1 B/s', 'whole', 2 ],
	[ 'connection reset', 'whole', 2, '08006', 3 ],
	[ 'reply lost', 'whole', 2, '08006', 3 ]);
check_matrix('PUT', \@put, { %no_listing, %no_reading, %no_reply_body });
run_matrix($node, $proxy, request('PUT', 'small', 'PUT', 'out/\d+/part', up => 1),
	grep { $_->[0] ne 'silence in the body' && $_->[0] ne '1 B/s' } @put);
run_matrix($node, $proxy, request('part', 'large', 'PUT', 'out/\d+/part.*partNumber=1&', up => 1), @put);

my @create = (@usual,
	[ 'reply cut', 'whole', 2, '08006', 3 ],
	[ 'silence in the body', 'whole', 2 ],
	[ '1 B/s', 'whole', 2 ],
	[ 'connection reset', 'whole', 2, '08006', 3 ],
	[ 'reset in the body', 'whole', 2 ],
	[ 'reply lost', 'whole', 2, '08006', 3 ],
	[ 'malformed XML', '08P01', 1 ],
	[ 'huge XML', '54000', 1 ]);
check_matrix('create', \@create, { %no_listing, %no_reading, %no_flip });
run_matrix($node, $proxy, request('create', 'large', 'POST', 'uploads'), @create);

# The upload is complete, only we do not know; its object tells.
my @complete = (@usual,
	[ 'reply cut', 'whole', 2 ],
	[ 'silence in the body', 'whole', 2 ],
	[ '1 B/s', 'whole', 2 ],
	[ 'connection reset', 'whole', 2, '08006', 3 ],
	[ 'reset in the body', 'whole', 2 ],
	[ 'reply lost', 'whole', 2 ],
	[ 'malformed XML', '08P01', 1 ],
	[ 'huge XML', '54000', 1 ]);
check_matrix('complete', \@complete, { %no_listing, %no_reading, %no_flip });
run_matrix($node, $proxy, request('complete', 'large', 'POST', 'uploadId='), @complete);

# Aborting, after an error of the query.
my $bad = $queries{large} =~ s{SELECT i}{SELECT 1 / (11000 - i) AS q, i}r;
my %abort = (method => 'DELETE', target => 'uploadId=');
for my $fault ('503 SlowDown', '200 with <Error>', 'connection reset', 'reply lost', 'silence')
{
	my ($settings, $rule) = fault_rules($fault, { match => \%abort });
	$proxy->clear;
	$proxy->rule(%$rule);
	is_error($node, "$settings SET stedi.part_size = '5MB';\n" . (export('large') =~ s{\Q$queries{large}\E}{$bad}r), '22012', "abort: $fault");
	cmp_ok(scalar($proxy->requests(qr/DELETE/, qr/uploadId=/)), '>=', 2, "abort: $fault: it is tried again");
	none("abort: $fault");
}
my (undef, $rule) = fault_rules('503 SlowDown', { match => \%abort });
$proxy->clear;
$proxy->rule(%$rule, times => 0);
is_error($node, "SET stedi.part_size = '5MB';\n" . (export('large') =~ s{\Q$queries{large}\E}{$bad}r), '22012', 'abort: SlowDown for good');
$proxy->clear;
is(scalar(my @left = $s3->uploads(key("out/$place/"))), 1, 'abort: SlowDown for good: the upload is left');
$place--;
one(export('small'));
whole('small', 'abort: the next export removes it');

done_testing();
