
# What the tests against a real S3 server share: a PostgreSQL cluster whose
# server "lake" reaches the bucket, names that are this test's own, errors taken
# apart, queries that run while the test goes on.
#
# The variables STEDI_S3_* come from the env file that test/s3/radosgw and
# test/s3/swift write.
package StediTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  lake_node lake_option need_s3 server_has bucket key uri literal_uri quote
  sql_error is_error session start_query finish_query backend_pid crash
  stops_at_once scratch_dir make_landing attach_landing counts_once reframe
  remote_fds wait_until
);

my @variables = map { "STEDI_S3_$_" } qw(
  ENDPOINT DNS_ENDPOINT TLS_ENDPOINT CA_FILE REGION BUCKET ACCESS_KEY_ID
  SECRET_ACCESS_KEY OTHER_BUCKET OTHER_ACCESS_KEY_ID OTHER_SECRET_ACCESS_KEY FEATURES
);

# Milliseconds by the server's clock from asking a backend to stop until it is
# idle, or gone.
my $stop_ms = <<'SQL';
CREATE OR REPLACE FUNCTION stop_ms(pid int, how text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz := clock_timestamp();
	a record;
BEGIN
	IF how = 'cancel' THEN
		PERFORM pg_cancel_backend(stop_ms.pid);
	ELSE
		PERFORM pg_terminate_backend(stop_ms.pid);
	END IF;
	LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT s.state, s.state_change INTO a FROM pg_stat_activity AS s WHERE s.pid = stop_ms.pid;
		IF NOT FOUND THEN
			RETURN round(extract(epoch FROM clock_timestamp() - started) * 1000, 1);
		ELSIF a.state <> 'active' THEN
			RETURN round(extract(epoch FROM a.state_change - started) * 1000, 1);
		ELSIF clock_timestamp() > started + interval '5 s' THEN
			RETURN 5000;
		END IF;
		PERFORM pg_sleep(0.001);
	END LOOP;
END
$$;
SQL

# Without a server a test fails: a skipped test proves nothing.
sub need_s3
{
	my @missing = grep { ($ENV{$_} // '') eq '' } @variables;
	return unless @missing;
	fail('an S3 server to test against');
	diag "not set: @missing";
	diag 'Start one with test/s3/radosgw or test/s3/swift and export what its env file says.';
	done_testing();
	exit 1;
}

# One of the features that test/s3/local_server.py lists.
sub server_has
{
	my ($feature) = @_;
	return scalar grep { $_ eq $feature } split /,/, $ENV{STEDI_S3_FEATURES};
}

sub bucket { return $ENV{STEDI_S3_BUCKET} }

# Names below this test's own prefix.
my $prefix = basename($0, '.pl') . "-$$-" . int(rand(1e6)) . '/';
sub key { return $prefix . (shift // '') }
sub uri { return 's3://' . bucket() . '/' . key(@_) }

# The URI of exactly one object: glob characters are quoted.
sub literal_uri
{
	my ($name) = @_;
	$name =~ s/([*?\[\\])/\\$1/g;
	return uri($name);
}

# A string as an SQL literal.
sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	$text = "E" . "'" . ($text =~ s/\\/\\\\/gr) . "'";
	return $text;
}

# A running cluster; its database "postgres" has the extension and the server.
sub lake_node
{
	my ($name, %options) = @_;
	need_s3();
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '-E', 'UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', <<"CONF" . ($options{conf} // ''));
restart_after_crash = on
max_wal_size = 4GB
CONF
	unlink $node->logfile;    # of an earlier run
	$node->start;
	create_lake($node, 'postgres', %options);
	return $node;
}

# The secret goes into no log: not as a statement, not as part of an error.
sub create_lake
{
	my ($node, $database, %options) = @_;
	my $endpoint = quote($options{endpoint} // $ENV{STEDI_S3_ENDPOINT});
	my $region = quote($ENV{STEDI_S3_REGION});
	my $id = quote($ENV{STEDI_S3_ACCESS_KEY_ID});
	my $secret = quote($ENV{STEDI_S3_SECRET_ACCESS_KEY});
	$node->safe_psql($database, <<"SQL");
SET log_statement = none;
SET log_min_error_statement = panic;
CREATE EXTENSION stedi;
CREATE SERVER lake FOREIGN DATA WRAPPER stedi
	OPTIONS (endpoint $endpoint, region $region, url_style 'path');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake
	OPTIONS (access_key_id $id, secret_access_key $secret);
SQL
	return;
}

sub lake_option
{
	my ($node, $option, $value) = @_;
	$node->safe_psql('postgres', "ALTER SERVER lake OPTIONS (SET $option " . quote($value) . ')');
	return;
}

# Run SQL that ought to fail; returns its error's parts, or undef if it did not.
sub sql_error
{
	my ($node, $sql, %options) = @_;
	my ($status, $out, $text) = $node->psql(
		$options{database} // 'postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return if $status == 0;
	note $text;
	my %error = (text => $text);
	@error{ 'sqlstate', 'message' } = $text =~ /(?:ERROR|FATAL):\s+(\w{5}): (.*)/;
	($error{detail}) = $text =~ /^DETAIL:\s+(.*)/m;
	($error{hint}) = $text =~ /^HINT:\s+(.*)/m;
	return \%error;
}

# SQL fails with this SQLSTATE, and its parts match.
sub is_error
{
	my ($node, $sql, $sqlstate, $name, %parts) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $error = sql_error($node, $sql);
	return fail("$name: no error") unless $error;
	is($error->{sqlstate}, $sqlstate, "$name: SQLSTATE") or diag $error->{text};
	like($error->{$_} // '', $parts{$_}, "$name: $_") for sort keys %parts;
	return $error;
}

# A session that stays, and goes on after errors.
sub session
{
	my ($node, $database) = @_;
	my $session = $node->background_psql($database // 'postgres', on_error_stop => 0);
	$session->set_query_timer_restart(1);
	$session->query('\set VERBOSITY verbose');
	return $session;
}

sub backend_pid { return $_[0]->query('SELECT pg_backend_pid()') }

# Send a query without waiting for its end ...
sub start_query
{
	my ($session, $sql) = @_;
	$session->query_until(qr/query sent/, "\\echo query sent\n$sql\n;\n");
	return;
}

# ... and wait for it; returns output and messages.
sub finish_query
{
	my ($session) = @_;
	$session->{stderr} = '' unless defined $session->{stderr};
	my $out = $session->query('\echo');
	my $messages = $session->{stderr};
	$session->{stderr} = '';
	$out =~ s/^\s+|\s+$//g;
	return ($out, $messages);
}

# Kill a session's backend as the kernel would, and wait until the server has
# recovered.
sub crash
{
	my ($node, $session, $pid) = @_;
	my $offset = -s $node->logfile;
	kill 'KILL', $pid;
	$session->{run}->finish;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	# A psql that is refused may end before it is given its query, which is an error.
	return wait_until('the server', sub { eval { $node->safe_psql('postgres', 'SELECT true') } });
}

# Ask a backend to stop, by "cancel" or "terminate": it does so at once, within what
# is promised and what the measuring may add on a busy machine, as the state of the
# backend is asked for every millisecond.  The best of some tries counts, since other
# processes can only add to it.  Before each $begin gets the number of the try, from
# 0, and returns the backend's pid, undef if it does not come so far; $end follows.
sub stops_at_once
{
	my ($node, $how, $what, $begin, $end) = @_;
	my $limit_ms = 100 + 10;
	my @figures;

	$node->safe_psql('postgres', $stop_ms);
	for my $try (0 .. 2)
	{
		my $pid = $begin->($try) or last;
		push @figures, $node->safe_psql('postgres', "SELECT stop_ms($pid, '$how')");
		$end->();
		last if $figures[-1] <= $limit_ms;
	}
	cmp_ok($figures[-1] // 'Inf', '<=', $limit_ms, "$what: at once after $how");
	diag "$how $what: @figures ms";
	return;
}

# Descriptors of a process that lead outside: sockets, epoll, pipes.
sub remote_fds
{
	my ($pid) = @_;
	return scalar grep { (readlink($_) // '') =~ /^(?:socket|anon_inode|pipe):/ }
	  glob "/proc/$pid/fd/*";
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->())
	{
		if (time > $deadline)
		{
			diag "waited in vain: $what";
			return 0;
		}
		sleep 0.02;
	}
	return 1;
}

sub scratch_dir { return PostgreSQL::Test::Utils::tempdir() }

# Made-up landing data below a directory; returns the generator's summary.
sub make_landing
{
	my ($dir, @options) = @_;
	my $text = `"$FindBin::RealBin/../demo/make-landing" @options "$dir"`;
	die "make-landing failed\n" if $? != 0;
	return decode_json($text);
}

# The same, in the lake of a node's server, attached.
sub attach_landing
{
	my ($node, $s3, @options) = @_;
	my $landing = scratch_dir();
	my $truth = make_landing($landing, @options);
	$s3->sync($landing, key('lake/'));
	$node->safe_psql('postgres', 'SELECT stedi.attach(' . quote(uri('lake')) . ')');
	return $truth;
}

# A query that counts objects, rows and different rows of a landing table, and what
# it says when every record is there once.
sub counts_once
{
	my ($table, $kind) = @_;
	return ("SELECT count(DISTINCT record_id >> 32), count(*), count(DISTINCT record_id) FROM stedi.$table",
		"$kind->{objects}|$kind->{records}|$kind->{records}");
}

sub reframe
{
	my ($mode, $from, $to) = @_;
	system("$FindBin::RealBin/../demo/reframe", $mode, $from, $to) == 0
	  or die "reframe $mode failed\n";
	return;
}

1;
