
# The faults that 011_faults_*.pl inflict on each kind of request, and how a case
# is run and judged.
package StediFaults;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use StediProxy;
use StediTest;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(fault_rules check_matrix run_matrix http_date);

my %hang = (settings => q{SET stedi.idle_timeout = '300ms';});
my $error = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>made up for a test</Message></Error>";

# Name => members of a proxy rule, or a function of the request's own values that
# returns them; "settings" are of the session.
my @faults = (
	'500' => { action => 'reply', status => 500, body => 'Oops' },
	'502' => { action => 'reply', status => 502, body => 'Oops' },
	'503 SlowDown' => { StediProxy::error_reply(503, 'SlowDown') },
	'429' => { action => 'reply', status => 429 },
	'503 without a body' => { action => 'reply', status => 503 },
	'503 with HTML' => { action => 'reply', status => 503, body => '<html><p>Oops<br></html>' },
	'400 RequestTimeout' => { StediProxy::error_reply(400, 'RequestTimeout') },
	'400 ExpiredToken' => { StediProxy::error_reply(400, 'ExpiredToken') },
	'RequestTimeTooSkewed' => sub { +{ StediProxy::error_reply(403, 'RequestTimeTooSkewed', headers => { Date => http_date(time + 600) }) } },
	'301 with a region' => { StediProxy::error_reply(301, 'PermanentRedirect', headers => { 'x-amz-bucket-region' => 'eu-test-7' }) },
	'301 to another host' => { action => 'reply', status => 301, headers => { Location => 'http://127.0.0.1:1/elsewhere' } },
	'200 with <Error>' => { action => 'reply', status => 200, body => $error },
	'reply cut' => sub { +{ action => 'cut', bytes => $_[0]{cut} } },
	'one bit flipped' => sub { +{ action => 'alter', flip => $_[0]{flip}, $_[0]{up} ? (at => 'upload') : () } },
	'Range ignored' => sub { +{ action => 'reply', status => 200, headers => { ETag => "\"$_[0]{etag}\"" }, body => $_[0]{body} } },
	'another ETag' => { action => 'alter', headers => { ETag => '"00000000000000000000000000000000"' } },
	'silence' => { action => 'stall', at => 'request', %hang },
	'silence in the body' => sub { +{ action => 'stall', $_[0]{up} ? (at => 'upload', bytes => 100_000) : (at => 'body', bytes => $_[0]{cut}), %hang } },
	'1 B/s' => sub { +{ action => 'slow', at => $_[0]{up} ? 'upload' : 'reply', %hang } },
	'connection reset' => { action => 'reset' },
	'reset in the body' => sub { +{ action => 'reset', bytes => $_[0]{cut} } },
	'reply lost' => { action => 'lose' },
	'looping token' => sub { +{ action => 'reply', status => 200, body => $_[0]{loop} } },
	'malformed XML' => { action => 'reply', status => 200, body => '<?xml version="1.0"?><ListBucketResult><Contents><Key>a</Contents>' },
	'huge XML' => { action => 'reply', status => 200, body => '<ListBucketResult>' . ' ' x 982, repeat => 20_000 },
);
my %faults = @faults;
my @names = grep { !ref } @faults;

sub fault_rules
{
	my ($name, $request) = @_;
	my $fault = $faults{$name} // die "unknown fault $name\n";
	$fault = $fault->($request) if ref $fault eq 'CODE';
	my %rule = %$fault;
	my $settings = delete $rule{settings} // '';
	return ($settings, { %{ $request->{match} }, %rule });
}

# A fault is in the matrix, or there is a reason why not.
sub check_matrix
{
	my ($what, $matrix, $excluded) = @_;
	my %seen;
	$seen{ $_->[0] }++ for @$matrix;
	$seen{$_}++ for keys %$excluded;
	is_deeply([ sort keys %seen ], [ sort @names ], "$what: every fault is tried or has a reason not to be");
	note "$what: no $_: $excluded->{$_}" for sort keys %$excluded;
	return;
}

# For each row of
#
#	[ fault, (outcome, attempts) if it passes, (outcome, attempts) if it stays ]
#
# run the request's statement.  An outcome is "whole" or an SQLSTATE; attempts
# are the requests of that kind that the proxy has seen.  Without either pair (or
# with undef) that is not tried.
#
#	what		name of the request
#	match		method and target, as the proxy wants them
#	before		further rules, which come first
#	run			statement => expected result of psql
#	whole, none	functions that check what is there, after success and failure
sub run_matrix
{
	my ($node, $proxy, $request, @matrix) = @_;
	foreach my $row (@matrix)
	{
		my ($fault, @expected) = @$row;
		# A server that checks the region will have none of the made-up one.
		@expected = ('08P01', 2) if $fault eq '301 with a region' && server_has('region');
		foreach my $times (1, 0)
		{
			my ($outcome, $attempts) = splice @expected, 0, 2;
			next unless defined $outcome;
			my $name = "$request->{what}: $fault" . ($times ? '' : ', for good');
			my ($settings, $rule) = fault_rules($fault, $request);
			$proxy->clear;
			$proxy->rule(%$_) for @{ $request->{before}{$fault} // [] };
			$proxy->rule(%$rule, times => $times);
			my $started = time;
			my ($status, $out, $text) = $node->psql('postgres', "SET stedi.max_attempts = 3;\n$settings\n$request->{settings}\n" . $request->{run}->(),
				extra_params => [ '-v', 'VERBOSITY=verbose' ]);
			my $seconds = time - $started;
			my $seen = () = $proxy->requests(qr/$rule->{method}/, qr/$rule->{target}/);
			ok(scalar($proxy->faults), "$name: it did happen");
			$proxy->clear;
			my ($sqlstate) = $text =~ /ERROR:\s+(\w{5})/;
			is($status == 0 ? 'whole' : $sqlstate, $outcome, "$name: outcome") or diag $text;
			is($seen, $attempts, "$name: attempts") or diag $text;
			cmp_ok($seconds, '<', 10, "$name: time");
			$outcome eq 'whole' ? $request->{whole}->($name, $out) : $request->{none}->($name);
			# What was tried, and on what.
			like($text, qr/DETAIL:.*HTTP status \d+.*\b$attempts attempts?, (?:object s3:|bucket )/, "$name: the error says what was tried")
			  if $outcome ne 'whole' && ($rule->{status} // 200) >= 300;
		}
	}
	return;
}

sub http_date
{
	my @gmt = gmtime shift;
	return sprintf '%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $gmt[6] ], $gmt[3],
	  (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $gmt[4] ], $gmt[5] + 1900, @gmt[ 2, 1, 0 ];
}

1;
