
# Consent and erasure on S3, with objects that arrive over time; what is exported
# tells nobody's name; and the order of arrival changes nothing.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha1_hex sha256_hex);
use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use JSON::PP;
use List::Util qw(shuffle uniq);
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;

my $node = lake_node('consent');
my $s3 = StediS3->new;

sub one { return $node->safe_psql($_[1] // 'postgres', $_[0]) }

#
# Ann agrees, withdraws, agrees again.  Ben agreed from the start, and nothing of
# this is to touch him.  Both read at the same moments.
#
sub at { return (1_700_000_000 + $_[0]) * 1000 }

sub put
{
	my ($kind, $name, @records) = @_;
	$s3->put(key("lake/$kind/landing/$name.json"), join '', map { encode_json($_) . "\n" } @records);
	return;
}

sub customer
{
	my ($who, $updated, $consent) = @_;
	return {
		customerName => ucfirst $who,
		email => "$who\@example.com",
		serialNumber => 'handed-out-to-everybody',
		lastUpdateDate => at($updated),
		defined $consent ? (shareWithResearchAsOfDate => at($consent)) : ()
	};
}

sub readings
{
	my ($name, @moments) = @_;
	my %offset = (ann => 0, ben => 0.25);
	put('accelerometer', $name, map { my $who = $_;
		map { { user => "$who\@example.com", timeStamp => at($_ + $offset{$who}), x => $_ } } @moments } sort keys %offset);
	put('step_trainer', $name, map { my $who = $_;
		map { { sensorReadingTime => at($_ + $offset{$who}), serialNumber => "device-$who", distanceFromObject => $_ } } @moments } sort keys %offset);
	return;
}

# Ingest and refresh; everybody's moments in each of the zones.
sub zones
{
	one('SELECT count(*) FROM stedi.ingest()');
	one('SELECT count(*) FROM stedi.refresh()');
	my %rows;
	for (split /\n/, one(<<'SQL'))
SELECT split_part(email, '@', 1), zone, string_agg(n, ' ' ORDER BY n) FROM (
	SELECT email, 'customer' AS zone, round(extract(epoch FROM share_with_research_as_of_date) - 1700000000)::text AS n FROM stedi.customer_trusted
	UNION ALL SELECT email, 'phone', x::text FROM stedi.accelerometer_trusted
	UNION ALL SELECT email, 'curated', 'yes' FROM stedi.customers_curated
	UNION ALL SELECT email, 'device', distance_from_object::text FROM stedi.step_trainer_trusted
	UNION ALL SELECT email, 'training', x::text || '/' || distance_from_object
		FROM stedi.machine_learning_curated JOIN stedi.customers_curated USING (subject)) AS z
GROUP BY 1, 2
SQL
	{
		my ($who, $zone, $moments) = split /\|/;
		$rows{$who}{$zone} = $moments;
	}
	return \%rows;
}

sub trusted_with
{
	my ($consent, @moments) = @_;
	return {
		customer => "$consent", phone => "@moments", curated => 'yes', device => "@moments",
		training => join ' ', map { "$_/$_" } @moments
	};
}

one('SELECT stedi.attach(' . quote(uri('lake')) . ')');
put('customer', '01', customer('ann', 0, undef), customer('ben', 0, 0));
readings('01', 1 .. 6);
my $ben = trusted_with(0, 1 .. 6);
is_deeply(zones(), { ben => $ben }, 'no consent');

put('customer', '02', customer('ann', 3, 3));
is_deeply(zones(), { ben => $ben, ann => trusted_with(3, 3 .. 6) }, 'consent given late counts from its date');

put('customer', '03', customer('ann', 4, undef));
is_deeply(zones(), { ben => $ben }, 'withdrawn by a newer record: out of every zone');

put('customer', '04', customer('ann', 5, 5));
is_deeply(zones(), { ben => $ben, ann => trusted_with(5, 5, 6) }, 'given again: from the new date on');

put('customer', '05', customer('ann', 2, 0), customer('ann', 4.5, undef));
is_deeply(zones(), { ben => $ben, ann => trusted_with(5, 5, 6) }, 'older records that arrive later change nothing');

put('customer', '00', customer('ann', 1, 1));
is_deeply(zones(), { ben => $ben, ann => trusted_with(5, 5, 6) }, 'nor does a key that sorts before the others');

readings('02', 4.5, 7);
$ben = trusted_with(0, 1 .. 4, 4.5, 5 .. 7);
$_->{device} =~ s/4\.5 // for $ben;    # not an integer: a reject
$ben->{training} =~ s{4\.5/4\.5 }{};
is_deeply(zones(), { ben => $ben, ann => trusted_with(5, 5 .. 7) }, 'readings that arrive late are judged by their own time');

# An object that is rewritten: what it said before is gone.
put('customer', '04', customer('ann', 5, undef));
is_deeply(zones(), { ben => $ben }, 'withdrawn by a new version of the object');
put('customer', '04', customer('ann', 5, 5));
is_deeply(zones(), { ben => $ben, ann => trusted_with(5, 5 .. 7) }, 'and given again by the next');
$s3->put(key('lake/customer/landing/06.json'), '{"email":"ann@example.com","lastUpdateDate":"soon","note":"ann@example.com"}');
is_deeply(zones(), { ben => $ben, ann => trusted_with(5, 5 .. 7) }, 'a damaged record changes nothing');

#
# Erasure.
#
my $trace = <<'SQL';
SELECT count(*) FROM (
	SELECT t::text FROM stedi.customer_landing AS t UNION ALL SELECT t::text FROM stedi.accelerometer_landing AS t
	UNION ALL SELECT t::text FROM stedi.step_trainer_landing AS t UNION ALL SELECT convert_from(raw, 'UTF8') FROM stedi.reject
	UNION ALL SELECT t::text FROM stedi.customer_trusted AS t UNION ALL SELECT t::text FROM stedi.accelerometer_trusted AS t
	UNION ALL SELECT t::text FROM stedi.customers_curated AS t UNION ALL SELECT t::text FROM stedi.step_trainer_trusted AS t
	UNION ALL SELECT t::text FROM stedi.machine_learning_curated AS t UNION ALL SELECT t::text FROM stedi.device_owner AS t
	UNION ALL SELECT t::text FROM stedi.erasure AS t) AS r(row)
WHERE row ~ 'ann@|device-ann' OR row ~ (SELECT stedi.pseudonym('subject', 'ann@example.com')::text)
SQL
cmp_ok(one($trace), '>', 30, 'there is much of Ann to be found');
my $subject = one(q{SELECT stedi.pseudonym('subject', 'ann@example.com')});
sub exported { return join '', map { $s3->get($_) } grep { m{/part-} } $s3->ls(key('lake/machine_learning_curated/')) }
one('CALL stedi.run()');
like(exported(), qr/$subject/, 'she is in the export');

my @told = split /\n/, one(q{SELECT kind, name, records FROM stedi.forget('ann@example.com')});
my $rewritten = key('lake/accelerometer/landing/01.json');
my @holding = map { 's3://' . bucket() . "/$_" } grep { $s3->get($_) =~ /ann\@|device-ann/ } $s3->ls(key('lake/'));
is_deeply([ map { (split /\|/)[1] } grep { /^object still holds/ } @told ], \@holding, 'forgotten: it names the objects that hold her records');
my $exports = join "\n", grep { /^export made earlier/ } @told;
is($exports, 'export made earlier|' . uri('lake/machine_learning_curated/_manifest.json') . '|' . (() = exported() =~ /\n/g),
	'and the export that she is in');
is(one($trace), '0', 'nothing is left of her');
is_deeply(zones(), { ben => $ben }, 'Ben is as he was');

put('customer', '07', customer('ann', 9, 0));
readings('03', 8, 9);
$ben = { %$ben, map { $_ => "$ben->{$_} " . ($_ eq 'training' ? '8/8 9/9' : '8 9') } qw(phone device training) };
$s3->put($rewritten, $s3->get($rewritten) . '{"user":"ann@example.com","timeStamp":' . at(9) . "}\n");
is_deeply(zones(), { ben => $ben }, 'new objects and one that was rewritten: kept out');
is(one($trace), '0', 'not a trace of her');
is(one('SELECT rows, erased FROM stedi.object WHERE uri = ' . quote("s3://" . bucket() . "/$rewritten") . q{ AND status = 'loaded'}),
	'6|7', 'the ledger counts what was dropped');
one('SELECT count(*) FROM stedi.ingest(force => true)');
is_deeply(zones(), { ben => $ben }, 'everything loaded anew: kept out');
is(one($trace), '0', 'not a trace of her');
one('CALL stedi.run()');
unlike(exported(), qr/$subject/, 'the next export is without her');
is(scalar(grep { m{/part-} } $s3->ls(key('lake/machine_learning_curated/'))), 1, 'and has taken the place of the other');

is(one(q{SELECT stedi.unforget('ann@example.com')}), 't', 'unforgotten');
is_deeply(zones(), { ben => $ben }, 'nothing comes back by itself');
one('SELECT count(*) FROM stedi.ingest(force => true)');
is_deeply(zones(), { ben => $ben, ann => { %$ben, customer => '0' } }, 'but when it is loaded with force: as the newest record says')
  or diag explain zones();

# A load that waits for an erasure knows of it.
put('customer', '08', customer('ann', 10, 0));
my ($officer, $loader) = map { session($node) } 1 .. 2;
$officer->query(q{BEGIN; SELECT count(*) FROM stedi.forget('ann@example.com')});
start_query($loader, q{SELECT rows_parsed, rows_loaded FROM stedi.ingest('customer')});
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%stedi.ingest%' AND pid <> pg_backend_pid()}),
	'a load waits for the end of an erasure');
$officer->query('COMMIT');
is((finish_query($loader))[0], '1|0', 'and loads nothing of hers');
$_->quit for $officer, $loader;
is(one($trace), '0', 'not a trace of her');

#
# The curated zone and the export tell nobody's name: no value of a personal key
# of the landing data is found in any byte of what is exported.
#
my $landing = scratch_dir();
my $truth = make_landing($landing);
$s3->sync($landing, key('made/'));
one('CREATE DATABASE job');
StediTest::create_lake($node, 'job');
one('SELECT stedi.attach(' . quote(uri('made')) . ')', 'job');

sub plain
{
	my ($bytes) = @_;
	return $bytes unless $bytes =~ /^\x1f\x8b/;
	gunzip(\$bytes, \my $plain) or die "gunzip: $GunzipError\n";
	return $plain;
}

my @landing = map { plain($s3->get($_)) } $s3->ls(key('made/'));
my %personal;
for (@landing)
{
	while (/"(customer_?name|email|user|phone|birth_?day|serial_?number)"\s*:\s*"([^"]+)"/gi)
	{
		my ($kind, $value) = (lc $1 =~ tr/_//dr, $2);
		$kind = 'email' if $kind eq 'user';
		$personal{$kind}{$value} = 1;
	}
}
is_deeply([ sort keys %personal ], [qw(birthday customername email phone serialnumber)], 'kinds of personal values in the landing data');
cmp_ok(scalar keys %{ $personal{$_} }, '>=', $truth->{customers}, "one for each customer: $_") for qw(email serialnumber);

# The personal values that occur in some bytes, whatever their case.
sub found
{
	my ($bytes, @values) = @_;
	my $text = lc $bytes;
	return grep { index($text, lc) >= 0 } @values;
}
my @values = map { sort keys %$_ } @personal{ sort keys %personal };
is_deeply([ found(join("\n", @landing), @values) ], \@values, 'the search finds every value in the landing objects');

one('CALL stedi.run()', 'job');
is(one('SELECT count(*) FROM stedi.machine_learning_curated', 'job'), $truth->{zones}{exact_email}{machine_learning_curated},
	'the job has built the curated zone');
one('SELECT count(*) FROM stedi.export(' . quote('stedi.machine_learning_curated') . ', ' . quote(uri('made/csv/'))
	  . q{, format => 'csv', compression => 'gzip')}, 'job');
my @keys = map { $s3->ls(key("made/$_/")) } qw(machine_learning_curated csv);
is_deeply([ sort map { m{([^/]+/(?:part|_)[a-zA-Z]*)[^/]*$} } @keys ],
	[ map { ("$_/_SUCCESS", "$_/_manifest", "$_/part") } qw(csv machine_learning_curated) ], 'the exported objects');
my %exported = map { $_ => plain($s3->get($_)) } @keys;
cmp_ok((() = $exported{ (grep { m{curated/part-} } @keys)[0] } =~ /\n/g), '==',
	$truth->{zones}{exact_email}{machine_learning_curated}, 'all rows are in the file');
my $exported = join "\n", %exported;
is_deeply([ found($exported, @values) ], [], 'none of the values is in the exported objects or their names');
my @parts = uniq map { split /[ @.]/ } map { keys %$_ } @personal{qw(customername)};
push @parts, map { tr/-//dr } keys %{ $personal{serialnumber} };
cmp_ok(scalar @parts, '>', 60, 'parts of them');
is_deeply([ found($exported, @parts) ], [], 'no first or family name, no serial number without its dashes');
my @digests = map { my $value = $_; map { substr $_->($value), 0, 16 } \&md5_hex, \&sha1_hex, \&sha256_hex } @values, map { lc } @values;
is_deeply([ found($exported, @digests) ], [], 'no digest that anybody could make of a value');
like($exported, qr/"subject":"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"/, 'but pseudonyms');

# It would have been found in an export that has it.
one('SELECT count(*) FROM stedi.export(' . quote("stedi.$_") . ', ' . quote(uri("made/control/$_/")) . ')', 'job')
  for qw(customer_trusted step_trainer_trusted);
my $control = join "\n", map { $s3->get($_) } $s3->ls(key('made/control/'));
for my $kind (sort keys %personal)
{
	cmp_ok(scalar found($control, sort keys %{ $personal{$kind} }), '>', 0, "found in an export of trusted zones: $kind");
}

#
# The order and the grouping in which objects arrive change nothing.
#
sub fingerprint
{
	my ($database) = @_;
	return one(join("\nUNION ALL\n", map { <<"SQL" } qw(customer_trusted accelerometer_trusted customers_curated device_owner step_trainer_trusted machine_learning_curated)) . 'ORDER BY 1', $database);
SELECT '$_', count(*), md5(string_agg(r, chr(10) ORDER BY r COLLATE "C"))
FROM (SELECT (to_jsonb(zone) - '{record_id,step_trainer_record_id,accelerometer_record_id}'::text[])::text AS r FROM stedi.$_ AS zone) AS rows
SQL
}
my $key = one('SELECT key FROM stedi.pseudonym_key', 'job');
sub another_database
{
	my ($database, $root) = @_;
	one("CREATE DATABASE $database");
	StediTest::create_lake($node, $database);
	one("INSERT INTO stedi.pseudonym_key (key) VALUES ('$key'); SELECT stedi.attach(" . quote(uri($root)) . ')', $database);
	return;
}
my $expected = fingerprint('job');
unlike($expected, qr/\|0\|/, 'every zone holds something');

# The same objects, the last first, one at a time, with a refresh in between.
another_database('reversed', 'made');
my @objects = grep { m{/landing/[^/_.][^/]*[.]json$} } $s3->ls(key('made/'));
is(scalar @objects, scalar @{ $truth->{objects} }, 'objects');
my $turn = 0;
for my $object (reverse @objects)
{
	my ($kind) = $object =~ m{/(\w+)/landing/};
	one("SELECT count(*) FROM stedi.load('stedi.${kind}_landing', " . quote('s3://' . bucket() . "/$object")
		  . q{, on_error => 'reject', aliases => '} . ($kind eq 'accelerometer' ? '{"user": "email"}' : '{}') . q{')}, 'reversed');
	one('SELECT count(*) FROM stedi.refresh(concurrently => true)', 'reversed') if $turn++ % 7 == 0;
}
one('SELECT count(*) FROM stedi.refresh()', 'reversed');
is(fingerprint('reversed'), $expected, 'the same objects in the opposite order give the same zones');
isnt(one('SELECT md5(string_agg(record_id::text, chr(10) ORDER BY record_id)) FROM stedi.customer_trusted', 'reversed'),
	one('SELECT md5(string_agg(record_id::text, chr(10) ORDER BY record_id)) FROM stedi.customer_trusted', 'job'),
	'under other record ids');

# The same records, shuffled, in objects of other sizes, in several ingests.
my $clean = scratch_dir();
make_landing($clean, '--clean');
another_database('regrouped', 'shuffled');
srand 12;
my @later;
for my $kind (qw(customer accelerometer step_trainer))
{
	my @lines = shuffle map { split /(?<=\n)/, slurp_file($_) } glob "$clean/$kind/landing/*.json";
	while (my @some = splice @lines, 0, 1 + int rand(@lines / 2 + 10))
	{
		my $name = key(sprintf 'shuffled/%s/landing/%06d.json', $kind, rand 1e6);
		push @later, [ $name, join '', @some ];
	}
}
for my $batch (0 .. 2)
{
	my @batch = @later[ grep { $_ % 3 == $batch } 0 .. $#later ];
	$s3->put(@$_) for @batch;
	is(one('SELECT count(*) FROM stedi.ingest()', 'regrouped'), scalar @batch, 'one more batch of objects');
	one('SELECT count(*) FROM stedi.refresh()', 'regrouped');
}
is(fingerprint('regrouped'), $expected, 'the same records in other objects give the same zones');

done_testing();
