
# Records are the same in whatever framing they arrive, and however the bytes
# come in.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;

my %table = (
	customer => 'customer_name, email, phone, birth_day, serial_number, registration_date,
		last_update_date, share_with_research_as_of_date, share_with_public_as_of_date,
		share_with_friends_as_of_date, rescued::text',
	accelerometer => 'email, "timestamp", x, y, z, rescued::text',
	step_trainer => 'sensor_reading_time, serial_number, distance_from_object, rescued::text');

my $node = lake_node('framing');
my $s3 = StediS3->new;
my $clean = scratch_dir();
my $truth = make_landing($clean, '--clean');
my $total = 0;
$total += $_->{records} for values %{ $truth->{kinds} };

sub one { return $node->safe_psql('postgres', $_[0]) }

# Load all three kinds from below a prefix, replacing what was there.
sub load_from
{
	my ($prefix, $settings) = @_;
	return one(<<"SQL");
$settings
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT stedi.attach(${\quote(uri($prefix))});
SELECT sum(rows_loaded), sum(rows_rejected), string_agg(DISTINCT first_error, '; ') FROM stedi.ingest();
SQL
}

# Rows in either of the two but not in both, of all kinds.
sub difference
{
	my $sql = join ' UNION ALL ', map {
		my $columns = $table{$_};
		"(SELECT count(*) FROM ((SELECT $columns FROM stedi.${_}_landing EXCEPT ALL SELECT * FROM lines_$_)
		 UNION ALL (SELECT * FROM lines_$_ EXCEPT ALL SELECT $columns FROM stedi.${_}_landing)) AS d)"
	} sort keys %table;
	return one("SELECT sum(count) FROM ($sql) AS all_kinds");
}

$s3->sync($clean, key('lines/'));
is(load_from('lines', ''), "\n$total|0|", 'one record per line');
one("CREATE TABLE lines_$_ AS SELECT $table{$_} FROM stedi.${_}_landing") for keys %table;

for my $mode (qw(concat comma array gzip crlf))
{
	my $dir = scratch_dir();
	reframe($mode, $clean, $dir);
	$s3->sync($dir, key("$mode/"));
	is(load_from($mode, ''), "\n$total|0|", "$mode: all records, no rejects");
	is(difference(), '0', "$mode: the same rows");
}

# A small window and a small buffer: the reader sees every object in pieces.
for my $mode (qw(lines array gzip))
{
	one('TRUNCATE stedi.object CASCADE');
	is(load_from($mode, q{SET stedi.prefetch_size = '64kB'; SET stedi.concurrency = 1;}),
		"\n$total|0|", "$mode through a small buffer: all records");
	is(difference(), '0', "$mode through a small buffer: the same rows");
}

# The last record of the last object of each kind is cut.
my $cut = scratch_dir();
reframe('cut', $clean, $cut);
$s3->sync($cut, key('cut/'));
my $rest = $total - 3;
like(load_from('cut', ''), qr/^\n$rest\|3\|/, 'cut: one reject per kind, all else loaded');
is(difference(), '3', 'cut: nothing but the cut records is missing');
is(one(q{SELECT sqlstate, count(*), bool_and(byte_offset + byte_length = o.bytes)
		 FROM stedi.reject JOIN stedi.object AS o USING (object_id) GROUP BY 1}),
	'22032|3|t', 'cut: each reject reaches to the end of its object');

# A page of many kinds of framing in one object.
$s3->put(key('mixed/a.json'), qq(\xef\xbb\xbf[{"email":"a"},{"email":"b"}]\r\n\r\n)
	  . qq({"email":"c"}{"email":"d"},\n{"email":"e"} {"email":"f"}\n\n[\n {\n  "email": "g"\n }\n]   [{"email":"h"}]));
is(one("SELECT string_agg(value ->> 'email', '' ORDER BY record_no) FROM stedi.read_json(" . quote(uri('mixed/')) . ')'),
	'abcdefgh', 'every framing in one object');

done_testing();
