
# Multipart uploads that nobody ends: a crash, a cancel while the store is dead.
# Each has a record that survives, the view shows it, and the next run or export
# to the same place aborts the upload.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use StediProxy;
use StediS3;
use StediTest;

my $node = lake_node('uploads', conf => "wal_level = replica\nmax_wal_senders = 2\n");
my $s3 = StediS3->new;
my $proxy = StediProxy->new;
lake_option($node, endpoint => $proxy->endpoint);
my $dir = $node->data_dir . '/stedi_uploads';
$node->safe_psql('postgres', 'SELECT stedi.attach(' . quote(uri()) . ')');

# Some 12 MB: three parts.
my $export = 'SELECT rows FROM stedi.export_query('
  . quote("SELECT g AS n, repeat('x', 1000) AS pad FROM generate_series(1, 12000) AS g") . ', '
  . quote(uri('out/')) . ", mode => 'overwrite')";
my $settings = "SET stedi.part_size = '5MB'; SET stedi.upload_concurrency = 1;";

sub one { return $node->safe_psql('postgres', $_[0]) }
sub records { return grep { !/\.\.?$/ } glob "$dir/* $dir/.*" }
sub pending { return one('SELECT count(*) FROM stedi.pending_uploads') }

# An export that hangs where the rule says.
sub hanging
{
	my (%rule) = @_;
	my $session = session($node);
	$session->query($settings);
	$proxy->clear;
	$proxy->rule(%rule);
	start_query($session, $export);
	ok($proxy->wait_stalled, 'an export hangs');
	return ($session, backend_of($session));
}

sub backend_of
{
	return one("SELECT pid FROM pg_stat_activity WHERE query ~ 'export_query' AND state = 'active' AND pid <> pg_backend_pid()");
}

sub run_warnings
{
	my ($status, $out, $text) = $node->psql('postgres', 'CALL stedi.run()');
	is($status, 0, 'run() goes through') or diag $text;
	return join '', grep { /WARNING|DETAIL/ } split /^/m, $text;
}

is(pending(), 0, 'without uploads there are no records, and no directory');

#
# Killed while a part is on its way.
#
my ($session, $pid) = hanging(method => 'PUT', target => 'partNumber=2', action => 'stall', at => 'request');
my $row = one('SELECT uri, upload_id IS NOT NULL, server, role = current_user, database, pid, active, started_at > now() - interval $$1 min$$ FROM stedi.pending_uploads');
my $tag = quotemeta uri('out/part-00000-');
like($row, qr/^${tag}.*\.ndjson\|t\|lake\|t\|postgres\|$pid\|t\|t$/, 'the view shows an upload under way');
run_warnings();
is(pending(), 1, 'which run() leaves alone');
is(scalar $s3->uploads(key('out/')), 1, 'so it is still there');
crash($node, $session, $pid);
is(one('SELECT pid, active, upload_id IS NOT NULL FROM stedi.pending_uploads'), "$pid|f|t", 'after a crash it is there, and nobody works on it');
is(scalar $s3->uploads(key('out/')), 1, 'and so is the upload');

# A copy of the server has no business with it.
$node->backup('copy');
is_deeply([ glob $node->backup_dir . '/copy/stedi_uploads/*' ], [], 'a base backup leaves the record out');

# Who sees it.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE other LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA stedi TO other, watcher;
GRANT EXECUTE ON FUNCTION stedi.upload_records TO other, watcher;
GRANT SELECT ON stedi.pending_uploads TO other, watcher;
CREATE DATABASE elsewhere;
SQL
is(one('SET ROLE other; SELECT count(*) FROM stedi.pending_uploads'), 0, 'another role does not see it');
is(one('SET ROLE watcher; SELECT count(*) FROM stedi.pending_uploads'), 1, 'a monitoring role does');
$node->safe_psql('elsewhere', 'CREATE EXTENSION stedi');
is($node->safe_psql('elsewhere', 'SELECT database FROM stedi.pending_uploads'), 'postgres', 'a superuser sees it from elsewhere');
$node->psql('elsewhere', 'CALL stedi.run()');
is(pending(), 1, 'but another database does not clean it up');

# A clean-up that fails.
$proxy->clear;
$proxy->rule(method => 'DELETE', target => 'uploadId=', StediProxy::error_reply(403, 'AccessDenied'));
like(run_warnings(), qr/could not abort the upload of "$tag.*\nDETAIL:  permission denied/, 'a clean-up that fails is a warning');
is(pending(), 1, 'and the record stays');

# Files that are no records, and what is left of one that was being written.
my ($record) = records();
my $contents = slurp_file($record);
append_to_file("$dir/notes.txt", 'x');
append_to_file("$record.new", 'x');
(my $next = $record) =~ s/\d+$/99/;
append_to_file($next, substr($contents, 0, -2));
mkdir "$dir/pgsql_tmp.1.0000000000000001.1";
my ($status, $out, $text) = $node->psql('postgres', 'SELECT count(*) FROM stedi.pending_uploads');
is($out, 1, 'files that are no records do not hide the others');
my @named = $text =~ /WARNING:  file "stedi_uploads\/(\S+)" is not the record/g;
is_deeply([ sort @named ], [ sort 'notes.txt', 'pgsql_tmp.1.0000000000000001.1', $next =~ s/.*\///r ], 'each is a warning');

# The next run.
my $warnings = run_warnings();
unlike($warnings, qr/could not abort/, 'the next run aborts the upload');
like($warnings, qr/notes\.txt/, 'and says what it could not read');
is(pending(), 0, 'the record is gone');
is_deeply([ $s3->uploads(key('out/')) ], [], 'and so is the upload');
is(scalar records(), 3, 'with what was left of writing it');
ok(-f "$dir/notes.txt", 'but not what is somebody else\'s');
unlink "$dir/notes.txt", $next;
rmdir "$dir/pgsql_tmp.1.0000000000000001.1";

# A record that a crash brought back: its upload is gone.
append_to_file($record, $contents);
is(pending(), 1, 'a record is back');
is(run_warnings(), '', 'an upload that is gone is no failure');
is(pending(), 0, 'and the record goes');

# A server that is not the upload's.
append_to_file($record, $contents);
$node->safe_psql('postgres', 'ALTER SERVER lake RENAME TO pond');
like(run_warnings(), qr/begun through server "lake"/, 'an upload is not looked for through another server');
$node->safe_psql('postgres', 'ALTER SERVER pond RENAME TO lake');
is(run_warnings(), '', 'but through its own');

# A store that cannot be reached is not tried for each record.
(my $second = $record) =~ s/\d+$/98/;
append_to_file($_, $contents) for $record, $second;
lake_option($node, endpoint => 'http://127.0.0.1:1');
$node->append_conf('postgresql.conf', 'stedi.max_attempts = 1');
$node->reload;
(undef, undef, $text) = $node->psql('postgres', 'CALL stedi.run()');
is(scalar(() = $text =~ /could not abort/g), 1, 'of a dead store one record is tried');
is(pending(), 2, 'and all stay');
lake_option($node, endpoint => $proxy->endpoint);
$node->adjust_conf('postgresql.conf', 'stedi.max_attempts', undef);
$node->reload;
is(run_warnings(), '', 'when it is back');
is(pending(), 0, 'all go');

#
# Killed before the store has told the upload's id.
#
($session, $pid) = hanging(method => 'POST', target => 'uploads=', action => 'stall', at => 'body', bytes => 0);
is(one('SELECT upload_id IS NULL, active FROM stedi.pending_uploads'), 't|t', 'an upload is recorded before it is begun');
crash($node, $session, $pid);
is(scalar $s3->uploads(key('out/')), 1, 'the store has begun it');
$proxy->clear;
is(run_warnings(), '', 'the next run finds it by its name');
is(pending(), 0, 'its record is gone');
is_deeply([ $s3->uploads(key('out/')) ], [], 'and so is the upload');

#
# Cancelled while the store is dead.
#
($session, $pid) = hanging(method => 'PUT', target => 'partNumber=2', action => 'stall', at => 'request');
$proxy->rule(method => 'DELETE', action => 'stall', at => 'request', times => 0);
one("SELECT pg_cancel_backend($pid)");
like((finish_query($session))[1], qr/57014/, 'it is cancelled');
is(one('SELECT active FROM stedi.pending_uploads'), 'f', 'what a dead store keeps is on record');
$proxy->clear;
my $done = $session->query($export);
my (undef, $messages) = finish_query($session);
is($done, 12000, 'the next export to the same place goes through') or diag $messages;
is(pending(), 0, 'and has cleaned up');
is_deeply([ records() ], [], 'no record is left of its own uploads');
is_deeply([ $s3->uploads(key('out/')) ], [], 'nor an upload');

# A record that cannot be written: no upload.
$proxy->clear;
rename $dir, "$dir.away";
append_to_file($dir, 'in the way');
$session->query($export);
(undef, $messages) = finish_query($session);
like($messages, qr/could not create file "stedi_uploads\//, 'without a record there is no upload');
is(scalar(grep { 1 } $proxy->requests(qr/POST/, qr/uploads=/)), 0, 'none was begun');
unlink $dir;
rename "$dir.away", $dir;
$session->quit;

done_testing();
