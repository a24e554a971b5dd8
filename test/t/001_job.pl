
# The whole job on S3: ingest, zones, export, and back again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP;
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;

my @kinds = qw(customer accelerometer step_trainer);
my @zones = qw(customer_trusted accelerometer_trusted customers_curated
  step_trainer_trusted machine_learning_curated);

my $node = lake_node('job');
my $s3 = StediS3->new;

sub one { return $node->safe_psql('postgres', $_[0]) }

sub zone_counts
{
	my %count = map { split /\|/ } split /\n/,
	  one('SELECT zone, rows FROM stedi.refresh()');
	return [ map { $count{$_} } @zones ];
}

# Invented data with all the defects of real data, and their true number.
my $landing = scratch_dir();
my $truth = make_landing($landing);
$s3->sync($landing, key('made/'));
one('SELECT stedi.attach(' . quote(uri('made')) . ')');

for my $kind (@kinds)
{
	my $expected = $truth->{kinds}{$kind};
	is(one("SELECT count(*), sum(rows_loaded), sum(rows_rejected) FROM stedi.ingest('$kind')"),
		"$expected->{objects}|$expected->{records}|$expected->{rejects}",
		"$kind: objects, records and rejects");
	is(one("SELECT count(*), count(rescued) FROM stedi.${kind}_landing"),
		"$expected->{records}|$expected->{rescued}", "$kind: rows, rescued keys");
}

my $shown = join "\n", sort map {
	uri("made/$_->{key}") . "|$_->{records}|" . ($_->{bad_values} + $_->{damaged_regions})
} @{ $truth->{objects} };
is(one(q{SELECT uri, rows, rejects FROM stedi.object ORDER BY uri COLLATE "C"}),
	$shown, 'ledger: rows and rejects of each object');
is(one('SELECT o.uri, o.rejects - count(r.*) FROM stedi.object o LEFT JOIN stedi.reject r USING (object_id)
		GROUP BY o.object_id HAVING o.rejects <> count(r.*)'),
	'', 'every reject has its row');
is(one(q{SELECT count(*) FROM stedi.reject WHERE octet_length(raw) <> byte_length OR byte_length = 0}),
	'0', 'and its bytes');
is(one(q{SELECT status, count(*) FROM stedi.object GROUP BY 1 ORDER BY 1}),
	join("\n",
		'loaded|' . (grep { !$_->{bad_values} && !$_->{damaged_regions} } @{ $truth->{objects} }),
		'partial|' . (grep { $_->{bad_values} || $_->{damaged_regions} } @{ $truth->{objects} })),
	'ledger: states');

my $zones = $truth->{zones}{exact_email};
is_deeply(zone_counts(), [ @{$zones}{@zones} ], 'rows of the zones');
my %basis = map { split /\|/ } split /\n/,
  one('SELECT basis, count(*) FROM stedi.device_owner GROUP BY 1');
is_deeply(\%basis, { map { $_ => "$zones->{device_owner}{$_}" } keys %{ $zones->{device_owner} } },
	'grounds on which devices were given an owner');

# A reject's place leads to the bytes it came from.
my ($object, $offset, $length, $raw) = split /\|/,
  one(q{SELECT uri, byte_offset, byte_length, encode(raw, 'hex')
		FROM stedi.reject JOIN stedi.object USING (object_id)
		WHERE uri LIKE '%customer-1704103200000.json' LIMIT 1});
my ($name) = $object =~ m{^s3://[^/]+/(.*)};
is(unpack('H*', substr $s3->get($name), $offset, $length), $raw,
	"a reject's bytes are those of the object at its offset");

# A curated row leads to the two records it was made of.
is(one(q{SELECT count(*) FROM (
			SELECT (r.value ->> 'x')::float8 = m.x
			   AND (coalesce(r.value ->> 'timestamp', r.value ->> 'timeStamp'))::bigint
				   = extract(epoch FROM m.sensor_reading_time) * 1000 AS same
			FROM (SELECT * FROM stedi.machine_learning_curated ORDER BY x LIMIT 3) AS m,
				 stedi.provenance(m.accelerometer_record_id) AS p,
				 stedi.read_json(p.uri, on_error => 'skip') AS r
			WHERE r.record_no = p.record_no) AS c WHERE same}),
	'3', 'provenance leads to the records a curated row was made of');

# Export, and everybody can read it.
my $target = uri('made/machine_learning_curated/');
my $rows = $zones->{machine_learning_curated};
my ($part, $exported, $bytes, $etag) = split /\|/,
  one('SELECT * FROM stedi.export(' . quote('stedi.machine_learning_curated') . ', ' . quote($target) . ')');
is($exported, $rows, 'rows exported');
$part =~ s{^s3://[^/]+/}{};
is_deeply([ @{ $s3->head($part) }{ 'size', 'etag' } ], [ $bytes, $etag ],
	'size and etag as the server tells them');
my @lines = map { decode_json($_) } split /\n/, $s3->get($part);
is(scalar @lines, $rows, 'boto3 reads the rows');
is_deeply(
	[ sort keys %{ $lines[0] } ],
	[ sort qw(subject device sensorReadingTime distanceFromObject x y z
		  stepTrainerRecordId accelerometerRecordId) ],
	'keys are spelt as in the landing zone');
is((grep { $_->{sensorReadingTime} !~ /^\d{13}$/ } @lines), 0, 'times are epoch milliseconds');
my $manifest = decode_json($s3->get(key('made/machine_learning_curated/_manifest.json')));
is_deeply(
	[ map { [ @{$_}{qw(key rows bytes etag)} ] } @{ $manifest->{objects} } ],
	[ [ $part =~ m{([^/]+)$}, $rows, $bytes, $etag ] ],
	'the manifest lists the file') or diag explain $manifest;
is($s3->get(key('made/machine_learning_curated/_SUCCESS')), '', '_SUCCESS is there');
is(one(<<"SQL"), '0', 'read back, the export is the same multiset');
CREATE TABLE back AS SELECT * FROM stedi.read_json(NULL::stedi.machine_learning_curated, ${\quote($target)});
SELECT count(*) FROM (
	(SELECT * FROM back EXCEPT ALL SELECT * FROM stedi.machine_learning_curated)
	UNION ALL
	(SELECT * FROM stedi.machine_learning_curated EXCEPT ALL SELECT * FROM back)) AS d;
SQL
is(one('SELECT count(*) FROM back'), $rows, 'all of it');

# Real landing data, where there is some.
if (my $real = $ENV{STEDI_TEST_LANDING})
{
	$s3->sync($real, key('real/'));
	one('DROP EXTENSION stedi CASCADE');
	StediTest::create_lake($node, 'postgres');
	one('SELECT stedi.attach(' . quote(uri('real')) . ')');
	is(one('SELECT source, sum(rows_loaded), sum(rows_rejected) FROM stedi.ingest() GROUP BY 1 ORDER BY 1'),
		"accelerometer|81273|0\ncustomer|956|0\nstep_trainer|28680|0", 'real data: records, no rejects');
	is_deeply(zone_counts(), [ 482, 32025, 464, 11297, 32025 ], 'real data: strict rules');
	is(one('SELECT basis, count(*) FROM stedi.device_owner GROUP BY 1 ORDER BY 1'),
		"claim|4\nevidence|952", 'real data: whose devices');
	one(q{SELECT stedi.set_policy('published')});
	is_deeply(zone_counts(), [ 482, 40981, 482, 14460, 43681 ], 'real data: published rules');
	one(q{SELECT stedi.set_policy('strict')});
	is_deeply(zone_counts(), [ 482, 32025, 464, 11297, 32025 ], 'real data: strict again');
}
else
{
	note 'STEDI_TEST_LANDING names no directory of real landing data';
}

done_testing();
