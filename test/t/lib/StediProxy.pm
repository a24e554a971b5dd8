
# The fault proxy, started and told from Perl; see test/s3/fault_proxy.py.
package StediProxy;

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use IPC::Open2;
use JSON::PP;
use PostgreSQL::Test::Utils;
use StediTest ();
use Time::HiRes qw(sleep time);

sub new
{
	my ($class) = @_;
	StediTest::need_s3();
	my ($upstream) = $ENV{STEDI_S3_ENDPOINT} =~ m{^http://([^/]+)}
	  or die "STEDI_S3_ENDPOINT is not http://HOST:PORT\n";
	my $pid = open2(my $from, my $to, '/usr/bin/python3',
		"$FindBin::RealBin/../s3/fault_proxy.py", $upstream);
	my ($port, $control) = (readline($from) // '') =~ /^(\d+) (\d+)$/
	  or die "the fault proxy did not start\n";
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $control) or die "cannot reach the fault proxy: $!\n";
	return bless {
		pid => $pid, from => $from, to => $to, control => $socket,
		endpoint => "http://127.0.0.1:$port"
	}, $class;
}

sub endpoint { return $_[0]->{endpoint} }

sub ask
{
	my ($self, %message) = @_;
	print { $self->{control} } encode_json(\%message), "\n";
	$self->{control}->flush;
	my $line = readline $self->{control};
	die "the fault proxy refused the command\n" unless defined $line;
	return decode_json($line);
}

sub rule { my ($self, %rule) = @_; return $self->ask(do => 'rule', %rule) }
sub release { return $_[0]->ask(do => 'release') }
sub clear { return $_[0]->ask(do => 'clear') }
sub connections { return $_[0]->ask(do => 'state')->{connections} }
sub stalled { return $_[0]->ask(do => 'state')->{stalled} }

# The requests so far whose method and target match.
sub requests
{
	my ($self, $method, $target) = @_;
	return grep { $_->{method} =~ $method && $_->{target} =~ $target }
	  @{ $self->ask(do => 'state')->{requests} };
}

# Those of them that a rule was applied to.
sub faults
{
	my ($self) = @_;
	return grep { $_->{action} ne 'pass' }
	  @{ $self->ask(do => 'state')->{requests} };
}

sub wait_stalled
{
	my ($self) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($self->stalled)
	{
		return 0 if time > $deadline;
		sleep 0.02;
	}
	return 1;
}

# A reply as S3 words its errors.
sub error_reply
{
	my ($status, $code, %more) = @_;
	return (
		action => 'reply',
		status => $status,
		headers => { 'Content-Type' => 'application/xml', %{ $more{headers} // {} } },
		body => "<?xml version=\"1.0\"?><Error><Code>$code</Code>"
		  . "<Message>made up for a test</Message></Error>");
}

sub DESTROY
{
	my ($self) = @_;
	return if ${^GLOBAL_PHASE} eq 'DESTRUCT';    # it ends with us
	local ($?, $!);
	close $self->{control};
	close $self->{to};
	close $self->{from};
	waitpid $self->{pid}, 0;
	return;
}

1;
