
# Exports whose rows are formatted by the workers of a parallel query: the same
# files, errors and limits as without workers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use JSON::PP;
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('workers', endpoint => $proxy->endpoint, conf => <<'CONF');
max_parallel_workers = 8
parallel_setup_cost = 0
min_parallel_table_scan_size = 0
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_analyze = on
auto_explain.log_timing = off
auto_explain.log_format = json
CONF
my $lake = scratch_dir();

sub one { return $node->safe_psql('postgres', $_[0]) }

my $rows = 40_000;
one(<<"SQL");
CREATE TABLE reading AS
SELECT n, (n * 7919::bigint) % $rows AS place, to_timestamp(n * 0.25) AS read_at, date '2022-06-18' + n % 500 AS day,
	   CASE WHEN n % 3 = 0 THEN NULL ELSE sqrt(n::float8) END AS x,
	   CASE n % 4 WHEN 0 THEN E'two\\nlines' WHEN 1 THEN 'a "quote", a comma' WHEN 2 THEN '' ELSE repeat(md5(n::text), 3) END AS note,
	   ARRAY[n, NULL, 1] AS list, jsonb_build_object('n', n, 'a', E'x\\ny') AS document
FROM generate_series(1, $rows) AS n;
CREATE TABLE readings (LIKE reading) PARTITION BY RANGE (n);
CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM (0) TO (15000);
CREATE TABLE readings_2 PARTITION OF readings FOR VALUES FROM (15000) TO (MAXVALUE);
INSERT INTO readings TABLE reading;
CREATE VIEW seen AS SELECT n, note FROM reading WHERE x IS NOT NULL;
CREATE TYPE odd;
CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4in';
CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL UNSAFE AS 'int4out';
CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, LIKE = integer);
CREATE TABLE odds AS SELECT n::text::odd AS o FROM generate_series(1, 20000) AS n;
CREATE ROLE clerk IN ROLE pg_write_server_files;
GRANT USAGE ON SCHEMA stedi TO clerk;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA stedi TO clerk;
GRANT SELECT ON reading TO clerk;
ALTER TABLE reading ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON reading FOR SELECT TO clerk USING (n % 10 = 0);
ANALYZE;
SQL

my %settings = (
	alone => 'SET max_parallel_workers_per_gather = 0;',
	# by workers only
	workers => 'SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;',
	together => 'SET max_parallel_workers_per_gather = 2;');
$_ .= q{ SET datestyle = 'German, DMY'; SET timezone = 'Asia/Kathmandu';} for values %settings;

my ($n_exports, $log) = (0, 0);

sub export_sql
{
	my ($query, $target, %options) = @_;
	my $more = join '', map { ", $_ => " . quote($options{$_}) } sort keys %options;
	return 'SELECT uri, rows FROM stedi.export_query(' . quote($query) . ', ' . quote($target) . "$more);";
}

# The texts of the files, and how many rows they are said to have.
sub export
{
	my ($settings, $query, %options) = @_;
	my $before = delete $options{before} // '';
	my $target = "$lake/" . ++$n_exports . '/';
	$log = -s $node->logfile;
	my @files = map { [ split /\|/ ] } split /\n/, one("$settings{$settings} $before " . export_sql($query, "file://$target", %options));
	return { texts => [ map { slurp_file($_->[0] =~ s{^file://}{}r) } @files ], rows => [ map { $_->[1] } @files ] };
}

# How the last export came to its rows.
sub plan_of
{
	my ($query) = @_;
	my ($plan) = grep { $_->{'Query Text'} eq $query }
	  map { decode_json($_) } substr(slurp_file($node->logfile), $log) =~ /LOG:  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)/g;
	return $plan->{Plan};
}

# The nodes from the top down to one that has none or several below.
sub nodes
{
	my ($plan) = @_;
	my @names;
	for (; defined $plan; $plan = @{ $plan->{Plans} // [] } == 1 ? $plan->{Plans}[0] : undef)
	{
		push @names, $plan->{'Custom Plan Provider'} // $plan->{'Node Type'};
	}
	return join ' < ', @names;
}

# In NDJSON a line is a row, in CSV what has its quotes in pairs; and the header.
sub lines { return map { split /^/ } @{ $_[0]{texts} } }
sub csv_rows { return $_[0] =~ /\G((?:"[^"]*"|[^"\n])*\n)/g }

# The rows are formatted by workers, and are the same.
my $all = 'TABLE reading';
my $alone = export('alone', $all);
is(scalar lines($alone), $rows, 'without workers: all rows');
like($alone->{texts}[0], qr/"day":"\d\d[.]\d\d[.]2022"/, 'without workers: as the session wants them');
is(nodes(plan_of($all)), 'stedi sink < Seq Scan', 'without workers: one process');
my $by_workers = export('workers', $all);
my $plan = plan_of($all);
is(nodes($plan), 'Gather < stedi sink < Seq Scan', 'with workers: they format');
is($plan->{'Workers Launched'}, 2, 'with workers: there are two');
is($plan->{Plans}[0]{'Actual Loops'}, 2, 'with workers: only they format');
cmp_ok($plan->{'Actual Rows'}, '<', $rows / 50, 'with workers: text is sent instead of rows');
is_deeply($by_workers->{rows}, [$rows], 'with workers: rows are counted');
is_deeply([ sort(lines($by_workers)) ], [ sort(lines($alone)) ], 'with workers: the same rows');
my $together = export('together', $all);
is(plan_of($all)->{Plans}[0]{'Actual Loops'}, 3, 'together: the leader takes part');
is_deeply([ sort(lines($together)) ], [ sort(lines($alone)) ], 'together: the same rows');

# Whatever is exported.
for my $case (
	[ 'a view', 'TABLE seen', qr/^Gather < stedi sink < Seq Scan$/ ],
	[ 'a partitioned table', 'TABLE readings', qr/^Gather < stedi sink < Append$/ ],
	[ 'a join', 'SELECT a.*, b.n AS other FROM reading AS a JOIN reading AS b ON a.n = b.place', qr/^Gather < stedi sink < Hash Join$/ ],
	[ 'a union', 'SELECT n, note FROM reading UNION ALL SELECT n, note FROM readings WHERE n < 100', qr/^Gather < stedi sink < Append$/ ],
	[ 'no rows', 'SELECT * FROM reading WHERE n < 0', qr/^Gather < stedi sink < Seq Scan$/ ],
	[ 'a part of the rows by right', $all, qr/^Gather < stedi sink < Seq Scan$/, 'SET ROLE clerk;' ],
	[ 'rows of the own transaction', $all, qr/^Gather < stedi sink < Seq Scan$/, "BEGIN; INSERT INTO reading (n) SELECT 0 FROM generate_series(1, 1000);" ],
	[ 'what workers must not compute', 'SELECT n, pg_my_temp_schema() AS s FROM reading', qr/^stedi sink < (?!.*sink)/ ],
	[ 'a type that workers must not write', 'TABLE odds', qr/^stedi sink < (?!.*sink)/ ])
{
	my ($what, $query, $expected, $before) = @$case;
	my $serial = export('alone', $query, before => $before);
	my $parallel = export('workers', $query, before => $before);
	like(nodes(plan_of($query)), $expected, "$what: the plan");
	is_deeply([ sort(lines($parallel)) ], [ sort(lines($serial)) ], "$what: the same rows");
}

# What is ordered stays so, also by a column that is not exported.
for my $query ('SELECT * FROM reading ORDER BY place', 'SELECT note, n FROM reading ORDER BY place DESC')
{
	my $serial = export('alone', $query);
	is_deeply(export('workers', $query)->{texts}, $serial->{texts}, "$query: the same file");
	like(nodes(plan_of($query)), qr/^stedi sink < (?!.*sink)/, "$query: is formatted where all rows come");
}

# Rows that are sent cost what they always cost.
my $grouped = 'SELECT place, count(*) FROM reading GROUP BY place';
export('together', $grouped);
my ($usual) = @{ decode_json(one("$settings{together} EXPLAIN (FORMAT JSON) $grouped")) };
is(nodes(plan_of($grouped)), 'stedi sink < ' . nodes($usual->{Plan}), 'a plan that sends rows is the usual one');

# Files of bounded size: the same number, but for the order of rows, none too large,
# all rows whole.
for my $case ([ 'ndjson', 50_000 ], [ 'ndjson', 500 ], [ 'csv', 50_000 ], [ 'csv', 500 ])
{
	my ($format, $max) = @$case;
	my $query = 'SELECT n, note, read_at FROM reading' . ($max < 1000 ? ' WHERE n <= 2000' : '');
	my $what = "$format in files of $max bytes";
	my ($serial, $parallel) = map { export($_, $query, format => $format, max_file_size => $max, timestamps => 'iso8601') } qw(alone workers);
	my ($headers, @expected, @got, @counts);
	foreach my $export ($serial, $parallel)
	{
		my @files = map { [ $format eq 'csv' ? csv_rows($_) : split /^/ ] } @{ $export->{texts} };
		$headers = $format eq 'csv' ? { map { shift(@$_) => 1 } @files } : {};
		@expected = @got;
		@got = sort map { @$_ } @files;
		@counts = map { scalar @$_ } @files;
	}
	is_deeply([ keys %$headers ], [ $format eq 'csv' ? "n,note,readAt\n" : () ], "$what: each begins as it should");
	is_deeply(\@got, \@expected, "$what: the same rows");
	is_deeply(\@counts, $parallel->{rows}, "$what: rows are counted");
	is_deeply([ grep { $_ > $max } map { length } @{ $parallel->{texts} } ], [], "$what: none is larger");
	cmp_ok(@{ $parallel->{texts} }, '<', 1.1 * @{ $serial->{texts} }, "$what: they are filled");
}
my $compressed = export('workers', $all, compression => 'gzip', max_file_size => 200_000);
is_deeply([ grep { $_ > 200_000 } map { length } @{ $compressed->{texts} } ], [], 'compressed files are no larger');
cmp_ok(@{ $compressed->{texts} }, '>', 3, 'and there are some');
is(one("SELECT count(*), count(DISTINCT value) FROM stedi.read_json('file://$lake/$n_exports/')"), "$rows|$rows", 'with all rows');

# An error is the same in a worker.
for my $query ("SELECT n, 1 / (n - $rows) AS q FROM reading", 'SELECT 1 / (n - n) AS q FROM reading',
	q{SELECT (CASE WHEN n = 30000 THEN 'x' ELSE '1' END)::integer AS i FROM reading})
{
	my $target = "$lake/" . ++$n_exports . '/';
	my $sql = export_sql($query, "file://$target", max_file_size => '100kB');
	my ($serial, $parallel) = map { sql_error($node, "$settings{$_} $sql") } qw(alone workers);
	my $text = delete $parallel->{text};
	delete $serial->{text};
	is_deeply($parallel, $serial, "$query: the same error");
	like($text, qr/^CONTEXT:.*^?parallel worker/ms, "$query: in a worker");
	is_deeply([ glob "$target*" ], [], "$query: nothing is left");
}

# What cannot be put on record, because a worker would have to do it, is not written.
one(<<"SQL");
CREATE FUNCTION export_one() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS \$\$
BEGIN
	RETURN (SELECT sum(rows) FROM stedi.export_query('SELECT 1 AS n', 'file://$lake/inner/'));
END
\$\$
SQL
is_error($node, "$settings{workers} SELECT sum(export_one()) FROM reading WHERE n = 30000", '25000', 'an export by a worker',
	message => qr/stedi[.]export\(\) during a parallel operation/);
is_deeply([ glob "$lake/inner/*" ], [], 'an export by a worker: nothing is written');

# Another worker has an error, too, while the upload is taken back.
one(<<'SQL');
CREATE FUNCTION fail(block integer) RETURNS integer LANGUAGE plpgsql PARALLEL SAFE AS $$
BEGIN
	PERFORM pg_sleep(CASE WHEN block = 800 THEN 0.5 ELSE 1 END);
	RAISE 'block %', block;
END
$$;
CREATE TABLE wide AS SELECT n, repeat('x', 1000) AS padding FROM generate_series(1, 6500) AS n;
ANALYZE wide;
SQL
$proxy->rule(method => 'DELETE', target => 'twice/', action => 'delay', ms => 1000);
my $error = sql_error($node, "$settings{workers} SET stedi.part_size = '5MB'; "
	  . export_sql('SELECT n, padding, CASE WHEN block >= 800 THEN fail(block) END FROM (SELECT *, (ctid::text::point)[0]::integer AS block FROM wide) AS w',
		uri('twice/')));
is($error->{message}, 'block 800', 'errors of two workers: the first is told');
ok(scalar $proxy->requests(qr/DELETE/, qr/twice.*uploadId/), 'errors of two workers: there is an upload to take back');
is_deeply([ $s3->uploads(key('twice/')) ], [], 'errors of two workers: it is taken back');
is(one('SELECT count(*) FROM stedi.pending_uploads'), '0', 'errors of two workers: and no longer on record');

done_testing();
