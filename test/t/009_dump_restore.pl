
# pg_dump takes along all that a lake knows: a restored database goes on where
# the dumped one was.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;

my $node = lake_node('dump');
my $s3 = StediS3->new;

sub in { return $node->safe_psql($_[0], $_[1]) }

my $landing = scratch_dir();
make_landing($landing);
$s3->sync($landing, key('lake/'));
in('postgres', 'SELECT stedi.attach(' . quote(uri('lake')) . ')');
in('postgres', 'SELECT count(*) FROM stedi.ingest()');
in('postgres', q{
	UPDATE stedi.source SET reject_limit = 7 WHERE name = 'customer';
	UPDATE stedi.export_target SET compression = 'gzip';
	UPDATE stedi.policy SET value = '4' WHERE name = 'min_matches';
	SELECT stedi.set_policy('published');
	SELECT count(*) FROM stedi.refresh();
});

# What has to be the same afterwards; zones only once they have been refreshed.
my @kept = (
	'stedi.object', 'stedi.reject', 'stedi.source', 'stedi.export_target', 'stedi.policy', 'stedi.pseudonym_key',
	'stedi.customer_landing', 'stedi.accelerometer_landing', 'stedi.step_trainer_landing');
my @zones = qw(stedi.customer_trusted stedi.accelerometer_trusted stedi.customers_curated stedi.device_owner
  stedi.step_trainer_trusted stedi.machine_learning_curated);

sub fingerprints
{
	my ($database, @relations) = @_;
	return { map { $_ => in($database, "SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text COLLATE \"C\")) FROM $_ AS t") } @relations };
}

my $before = fingerprints('postgres', @kept, @zones);
unlike($before->{$_}, qr/^0\|/, "$_ has rows") for @kept, @zones;

my $dump = scratch_dir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
in('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');

is_deeply(fingerprints('restored', @kept), { map { $_ => $before->{$_} } @kept }, 'ledger, rejects, sources, policy, key and rows are the same');
in('restored', 'SELECT count(*) FROM stedi.refresh()');
is_deeply(fingerprints('restored', @zones), { map { $_ => $before->{$_} } @zones }, 'the zones are rebuilt, with the same pseudonyms');
is(in('restored', 'SELECT count(*) FROM stedi.ingest()'), '0', 'nothing is loaded twice');

# It goes on: new objects get numbers of their own, changed ones are replaced.
$s3->put(key('lake/customer/landing/new.json'), '{"email":"new@example.org"}');
is(in('restored', 'SELECT count(*), sum(rows_loaded) FROM stedi.ingest()'), '1|1', 'a new object is loaded');
is(in('restored', 'SELECT max(object_id) - ' . in('postgres', 'SELECT max(object_id) FROM stedi.object') . ' FROM stedi.object'), '1',
	'under the next number');
my ($changed) = map { m{^s3://[^/]+/(.*)} } in('restored', q{SELECT uri FROM stedi.object WHERE source = 'accelerometer' AND rows > 0 ORDER BY uri LIMIT 1});
my $old = in('restored', 'SELECT count(*) FROM stedi.accelerometer_landing');
my $gone = in('restored', 'SELECT rows FROM stedi.object WHERE uri = ' . quote('s3://' . bucket() . "/$changed"));
$s3->put($changed, '{"user":"changed@example.org"}');
is(in('restored', 'SELECT count(*), sum(rows_loaded) FROM stedi.ingest()'), '1|1', 'a changed object is loaded');
is(in('restored', 'SELECT count(*) FROM stedi.accelerometer_landing'), $old - $gone + 1, 'in the place of its restored rows');
my $run = in('restored', 'SELECT count(*) FROM stedi.export(' . quote('stedi.machine_learning_curated') . ', ' . quote(uri('out/')) . ')');
is($run, '1', 'and exports');

# A dump of a dump is the same.
my @again = map { scratch_dir() . "/$_.sql" } 1, 2;
in('postgres', 'CREATE DATABASE second');
$node->command_ok([ 'pg_dump', '-f', $again[0], '-d', $node->connstr('restored') ], 'pg_dump again');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $again[0], '-d', $node->connstr('second') ], 'restore again');
is_deeply(fingerprints('second', @kept), fingerprints('restored', @kept), 'the second restore is the same as the first');

# Gone and made again: a new key, an empty ledger, and everything pending.
in('postgres', 'DROP EXTENSION stedi CASCADE');
is(in('postgres', q{SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE nspname = 'stedi'}), '0',
	'DROP EXTENSION leaves nothing');
StediTest::create_lake($node, 'postgres');
my $fresh = fingerprints('postgres', 'stedi.object', 'stedi.pseudonym_key');
like($fresh->{'stedi.object'}, qr/^0\|/, 'the new ledger is empty');
isnt($fresh->{'stedi.pseudonym_key'}, $before->{'stedi.pseudonym_key'}, 'the new key is another one');
in('postgres', 'SELECT stedi.attach(' . quote(uri('lake')) . ')');
is(in('postgres', 'SELECT count(*) FROM stedi.ingest()'), in('restored', q{SELECT count(*) FROM stedi.object WHERE status IN ('loaded', 'partial')}),
	'everything is loaded again');

done_testing();
