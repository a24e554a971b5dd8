
# Keys are bytes: whatever S3 allows in them is listed, read and written as it
# is, and boto3 agrees.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;

my $node = lake_node('keys');
my $s3 = StediS3->new;

sub one { return $node->safe_psql('postgres', $_[0]) }

my @names = (
	'a', 'a/b', 'a-b', 'with space', ' leading', 'trailing ', 'two  spaces', 'plus+plus', '+', 'per%cent',
	'%41', '%2F', '%', 'x/../y', 'x/./y', '..', '../up', 'x//y', '/slash', '//', 'dots..dots', 'x/y/z/../../w',
	"\xc3\xbcml\xc3\xa4ut", "\xe6\x97\xa5\xe6\x9c\xac/\xe8\xaa\x9e", "\xf0\x9f\x9a\xb6", "e\xcc\x81",
	q{single'quote}, q{double"quote}, 'hash#hash', 'amp&amp', 'a=b', 'a=b&c=d', '<xml>&amp;</xml>', ']]>',
	'semi;colon', 'com,ma', 'at@sign', 'co:lon', 'dol$lar', 'excl!am', '~tilde', '(paren)', '{brace}', '^caret',
	'pi|pe', 'back`tick', 'star*', 'question?', 'really?x=y', '[bracket]', 'back\\slash', 'z_under', 'z.dot',
	'_hidden', '.hidden', 'q/_hidden', 'q/.hidden/x', 'UPPER', 'upper',
);
my $room = 1024 - length(key('n/'));
push @names, 'l' x $room, 'm/' . ("\xe4\xba\x8c" x (($room - 2) / 3));

$s3->put(key("n/$names[$_]"), qq({"n":$_})) for 0 .. $#names;
$s3->put(key("c/a\x08b"), '{"n":1}');
$s3->put(key("c/a\nb"), '{"n":2}');
$s3->put(key('d/'), '{"n":3}');

# A name ending in "/" is a directory marker; names beginning with "_" or "."
# are hidden.
sub shown { return grep { !m{/$} && !m{(?:^|/)[_.]} } @_ }

sub listed
{
	my ($uri, $from) = @_;
	my $hex = one("SELECT encode(convert_to(uri, 'UTF8'), 'hex') FROM stedi.list_objects(" . quote($uri) . ')');
	return [ map { substr pack('H*', $_), length "s3://${\bucket()}/$from" } split /\n/, $hex ];
}

my @ours = map { substr $_, length key('n/') } $s3->ls(key('n/'));
is_deeply([ sort @ours ], [ sort @names ], 'the server has all the keys');
is_deeply(listed(uri('n/'), key('n/')), [ sort { $a cmp $b } shown(@names) ], 'all are listed, in byte order');
is_deeply(listed(uri('c/'), key('c/')), [ "a\x08b", "a\nb" ], 'control characters too');
is_deeply(listed(uri('d/'), key('d/')), [], 'a directory marker is no object');
is(one('SELECT sum((value ->> ' . quote('n') . ')::int) FROM stedi.read_json(' . quote(uri('c/')) . ')'),
	'3', 'keys with control characters are read');

# Every single one by its own URI, a hidden one too; but one that ends in "/" can
# only be a prefix.
my @readable = grep { $names[$_] !~ m{/$} } 0 .. $#names;
my $sql = join ",\n", map {
	'(SELECT value ->> ' . quote('n') . ' FROM stedi.read_json(' . quote(literal_uri("n/$names[$_]")) . '))'
} @readable;
is(one("SELECT concat_ws(' ', $sql)"), join(' ', @readable), 'each is read by its own URI');
my @visible = grep { shown($names[$_]) } 0 .. $#names;
my $count = @visible;
my $total = sum(@visible);
is(one('SELECT count(*), sum((value ->> ' . quote('n') . ')::int) FROM stedi.read_json(' . quote(uri('n/')) . ')'),
	"$count|$total", 'and all by their prefix');

# The same through load, which keeps URIs in the ledger and finds them again.
one('CREATE TABLE numbers (n int, record_id bigint)');
is(one('SELECT count(*), sum(rows_loaded) FROM stedi.load(' . quote('numbers') . ', ' . quote(uri('n/')) . ')'),
	"$count|$count", 'each is loaded');
is(one('SELECT count(*) FROM stedi.load(' . quote('numbers') . ', ' . quote(uri('n/')) . ')'), '0', 'once');

# Export targets with such characters, in one request and in parts.
my @targets = ("plain out/", "plus+per%cent/%41/", "dots/../x//y/", "\xc3\xbc \xe6\x97\xa5/", q{quo'te"/#&=;,@:$!~()/},
	'glob*[x]?/', 'back\\slash/', 'k=v/');
for my $target (@targets)
{
	my $uri = quote(uri("out/$target"));
	my $exported = one("SELECT uri FROM stedi.export_query('SELECT 1 AS one', $uri)");
	my @keys = $s3->ls(key("out/$target"));
	is_deeply([ map { s{.*/}{}r } @keys ], [ '_SUCCESS', '_manifest.json', $exported =~ s{.*/}{}r ],
		"$target: the export is where it should be");
	is($s3->get($keys[2]), qq({"one":1}\n), "$target: and boto3 reads it");
	is(one("SELECT value FROM stedi.read_json(" . quote(literal_uri("out/$target") . ($target =~ /[*?\[\\]/ ? '*' : '')) . ')'),
		'{"one": 1}', "$target: and so do we");
}
my $target = uri("out/parts \xc3\xbc+%/");
one("SELECT * FROM stedi.export_query('SELECT i, md5(i::text) AS m FROM generate_series(1, 250000) AS i', " . quote($target) . ')');
is(one('SELECT count(*), min((value ->> ' . quote('i') . ')::int), max((value ->> ' . quote('i') . ')::int) FROM stedi.read_json('
		  . quote($target) . ')'),
	'250000|1|250000', 'a multipart upload to such a key');

# More than a page of 1,000.
my @many = map { sprintf "%04d \xc3\xa9+%%.json", $_ } 1 .. 1101;
$s3->put_many(key('many/'), \@many, '{"n":1}');
is_deeply(listed(uri('many/'), key('many/')), \@many, 'a listing of more than one page');
one('CREATE TABLE many (n int, record_id bigint)');
is(one('SELECT count(*), sum(rows_loaded), count(DISTINCT uri) FROM stedi.load(' . quote('many') . ', ' . quote(uri('many/')) . ')'),
	'1101|1101|1101', 'all of them are loaded');
is(one('SELECT count(*), count(DISTINCT record_id) FROM many'), '1101|1101', 'each once');
is(one('SELECT count(*) FROM stedi.load(' . quote('many') . ', ' . quote(uri('many/')) . ')'), '0', 'and none again');

done_testing();
