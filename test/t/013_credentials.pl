
# The keys of the S3 server, found in each of the places that AWS's chain looks
# at, by servers with credentials 'chain'; renewal while a session goes on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Open2;
use JSON::PP;
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;
use Time::HiRes qw(sleep time);

my ($id, $secret) = @ENV{qw(STEDI_S3_ACCESS_KEY_ID STEDI_S3_SECRET_ACCESS_KEY)};
my $dir = scratch_dir();
my $role = 'arn:aws:iam::123456789012:role/reader';
my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('credentials', conf => "log_min_messages = debug1\n");
my $list = 'SELECT count(*) FROM stedi.list_objects(' . quote(uri('in/')) . ')';
my $whoami = 'SELECT credentials FROM stedi.whoami(' . quote(uri()) . ')';

$s3->put(key("in/$_.json"), qq({"n":$_}\n)) for 1 .. 3;

# What hands out keys, and how often it did.
my $given = "$dir/given.json";
sub give
{
	my (%keys) = @_;
	my $draft = "$given.new";
	open(my $file, '>', $draft) or die "$draft: $!\n";
	print $file encode_json({ id => $id, secret => $secret, life => 3600, %keys });
	close $file;
	rename $draft, $given or die "$given: $!\n";
	return;
}
give();
open2(my $from, my $to, '/usr/bin/python3', "$FindBin::RealBin/../s3/credential_server.py", $given);
my ($port) = readline($from) =~ /^(\d+)$/ or die "the credential server did not start\n";
my $fake = "http://127.0.0.1:$port";
sub asked { my ($line) = @_; return -e "$given.log" ? scalar grep { $_ eq "$line\n" } read_lines("$given.log") : 0 }
sub read_lines { open(my $file, '<', $_[0]) or die "$_[0]: $!\n"; return readline $file }

sub write_file
{
	my ($name, $text) = @_;
	open(my $file, '>', "$dir/$name") or die "$dir/$name: $!\n";
	print $file $text;
	close $file;
	return;
}

# The postmaster's environment is what counts.
sub restart_with
{
	my (%environment) = @_;
	local %ENV = (%ENV, AWS_EC2_METADATA_DISABLED => 'true', HOME => $dir, %environment);
	$node->restart;
	return;
}

# The server's options, from scratch.
sub lake_with
{
	my (%options) = @_;
	%options = (
		endpoint => $ENV{STEDI_S3_ENDPOINT}, region => $ENV{STEDI_S3_REGION}, url_style => 'path',
		credentials => 'chain', %options);
	my $options = join ', ', map { "$_ " . quote($options{$_}) } sort keys %options;
	$node->safe_psql('postgres', "DROP SERVER lake CASCADE; CREATE SERVER lake FOREIGN DATA WRAPPER stedi OPTIONS ($options)");
	return;
}

sub one { return $node->safe_psql('postgres', $_[0]) }

# Both the keys and what is said of them.
sub works
{
	my ($source, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(one($list), '3', "$name: the lake can be read");
	is(one($whoami), $source, "$name: whoami");
	return;
}

# With a mapping, as before.
is(one($whoami), 'user mapping', 'a mapping');
is(one('SELECT access_key_id FROM stedi.whoami(' . quote(uri()) . ')'),
	length $id < 16 ? "\xE2\x80\xA6" : substr($id, 0, 4) . "\xE2\x80\xA6" . substr($id, -4),
	'shows the ends of its key id, if it is long enough');

# Environment.
lake_with();
restart_with();
is_error($node, $list, '28000', 'no credentials anywhere', message => qr/could not get credentials/,
	detail => qr/environment: .*; profile "default": .*; web identity: .*; container: .*; instance metadata: AWS_EC2_METADATA_DISABLED/);
restart_with(AWS_ACCESS_KEY_ID => $id, AWS_SECRET_ACCESS_KEY => $secret, AWS_REGION => 'eu-north-1');
works('environment', 'environment');
is(one('SELECT region FROM stedi.whoami(' . quote(uri()) . ')'), $ENV{STEDI_S3_REGION}, 'the option names the region');
one('ALTER SERVER lake OPTIONS (DROP region)');
is(one('SELECT region FROM stedi.whoami(' . quote(uri()) . ')'), 'eu-north-1', 'without one, the environment does');
one('CREATE ROLE analyst; GRANT USAGE ON SCHEMA stedi TO analyst; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA stedi TO analyst');
is_error($node, "SET ROLE analyst;\n$list", '42501', 'a server of the chain is not for everybody', hint => qr/GRANT USAGE/);
one('GRANT USAGE ON FOREIGN SERVER lake TO analyst');
is(one("SET ROLE analyst;\n$list"), '3', 'but for whom it is granted to');
one('ALTER SERVER lake OWNER TO analyst');
is_error($node, "SET ROLE analyst;\n$list", '42501', 'and for nobody, when its owner is no superuser',
	message => qr/may not use the credentials of this machine/);

# Profiles.
mkdir "$dir/.aws";
write_file('.aws/credentials', "[etl]\naws_access_key_id = NOBODYSKEYID00000000\naws_secret_access_key = $secret\n");
write_file('.aws/config', "[profile etl]\nregion = eu-west-1\n"
	  . "[profile program]\ncredential_process = \"$dir/my program\" 'a b'\n"
	  . "[profile slow]\ncredential_process = sh -c 'echo \$\$ > $dir/pid; sleep 100'\n"
	  . "[profile role]\nrole_arn = $role\nsource_profile = etl\n"
	  . "[profile through]\nrole_arn = $role\nsource_profile = early\n"
	  . "[profile early]\ncredential_process = \"$dir/early\"\n"
	  . "[profile web]\nrole_arn = $role\nweb_identity_token_file = $dir/token\n");
restart_with(AWS_ENDPOINT_URL_STS => $fake);
lake_with(profile => 'etl');
my $session;
my $good_profile = "[etl]\naws_access_key_id = $id\naws_secret_access_key = $secret\n";
if (server_has('key-id'))
{
	$session = session($node);
	start_query($session, $list);
	like((finish_query($session))[1], qr/28000: the object store at .* refused the credentials/, 'a profile with a key that is none');
	write_file('.aws/credentials', $good_profile);
	start_query($session, $list);
	is((finish_query($session))[0], '3', 'the same session reads the file again when a key is refused');
	$session->quit;
}
write_file('.aws/credentials', $good_profile);
works('profile "etl" in ~/.aws/credentials', 'a profile');

my $keys = encode_json({ Version => 1, AccessKeyId => $id, SecretAccessKey => $secret });
write_file('my program', "#!/bin/sh\n[ \"\$1\" = 'a b' ] && echo '$keys'\n");
write_file('early', "#!/bin/sh\n(sleep 0.2; echo '$keys') &\n");
chmod 0755, "$dir/my program", "$dir/early";
lake_with(profile => 'program');
works('profile "program", credential_process', 'a program');

# A program that has ended before its output does.
lake_with(profile => 'through');
works("role $role, with profile \"early\", credential_process", 'a role by way of a program');

lake_with(profile => 'role');
works("role $role, with profile \"etl\" in ~/.aws/credentials", 'a role');
write_file('token', "eyJ.token\n");
lake_with(profile => 'web');
works("role $role, with a web identity token", 'web identity');
lake_with(profile => 'etl', role_arn => $role, external_id => 'x', sts_endpoint => $fake);
works("role $role, with profile \"etl\" in ~/.aws/credentials", 'a role that the server names');
is(one('SELECT role_arn, expires_at BETWEEN now() + ' . quote('59 min') . ' AND now() + ' . quote('61 min')
	  . ' FROM stedi.whoami(' . quote(uri()) . ')'), "$role|t", 'and until when');

# A real STS, which checks the signature and gives keys that need their token.
if (server_has('sts'))
{
	lake_with(profile => 'etl', role_arn => $ENV{STEDI_S3_ROLE_ARN},
		endpoint => $ENV{STEDI_S3_STS_ENDPOINT}, sts_endpoint => $ENV{STEDI_S3_STS_ENDPOINT});
	works("role $ENV{STEDI_S3_ROLE_ARN}, with profile \"etl\" in ~/.aws/credentials", 'a role of a real STS');
	is(one("SELECT rows FROM stedi.export_query('SELECT 1', " . quote(uri('out/')) . ", mode => 'overwrite')"), '1',
		'which can write, too');
	one("ALTER SERVER lake OPTIONS (SET role_arn 'arn:aws:iam:::role/nobody')");
	is_error($node, $list, '28000', 'a role that is not there', detail => qr/role_arn: AssumeRole at .*: HTTP status 4/);
}

# A program that does not end.
lake_with(profile => 'slow');
my $start = time;
is_error($node, "SET statement_timeout = '300ms';\n$list", '57014', 'waiting for a program can be stopped');
cmp_ok(time - $start, '<', 5, 'at once');
my ($pid) = read_lines("$dir/pid");
chomp $pid;
ok(wait_until('the end of the program', sub { !kill(0, $pid) || (slurp_file("/proc/$pid/stat") =~ /\) Z/) }), 'and the program is gone');

# Nor does it outlive the session.
unlink "$dir/pid";
my $waiting = session($node);
my $terminated = backend_pid($waiting);
start_query($waiting, $list);
ok(wait_until('the program', sub { -s "$dir/pid" }), 'a session waits for a program');
($pid) = read_lines("$dir/pid");
chomp $pid;
$start = time;
one("SELECT pg_terminate_backend($terminated)");
ok(wait_until('the end of the program', sub { !kill(0, $pid) || (slurp_file("/proc/$pid/stat") =~ /\) Z/) }),
	'which is gone when the session is terminated');
cmp_ok(time - $start, '<', 5, 'at once');
$waiting->{run}->finish;

# A container; the token's file is read each time.
write_file('authorization', "Bearer one\n");
give(authorization => 'Bearer one', life => 4);
restart_with(
	AWS_CONTAINER_CREDENTIALS_FULL_URI => "$fake/container",
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$dir/authorization");
lake_with();
works('container', 'a container');
$session = session($node);
my $backend = backend_pid($session);
my $before = asked('GET /container');
for (1 .. 2)
{
	start_query($session, $list);
	is((finish_query($session))[0], '3', 'a session');
}
is(asked('GET /container') - $before, 1, 'asks for its keys once');
write_file('authorization', 'Bearer two');
give(authorization => 'Bearer two', life => 3600);
sleep 2.2;
start_query($session, $list);
is((finish_query($session))[0], '3', 'and later on goes on');
is(asked('GET /container') - $before, 2, 'with new ones, before the old ones end');

# A store that does not take them any more.
lake_with(endpoint => $proxy->endpoint);
is(one($list), '3', 'through the proxy');
for my $method (qw(list get put))
{
	my %which = (
		list => { method => 'GET', target => 'list-type=2' },
		get => { method => 'GET', target => 'in/2[.]json' },
		put => { method => 'PUT', target => 'out/part' });
	my %query = (
		list => $list,
		get => 'SELECT sum((value ->> ' . quote('n') . ')::int) FROM stedi.read_json(' . quote(uri('in/')) . ')',
		put => "SELECT rows FROM stedi.export_query('SELECT 1', " . quote(uri('out/')) . ", mode => 'overwrite')");
	my %result = (list => '3', get => '6', put => '1');

	$proxy->clear;
	$proxy->rule(%{ $which{$method} }, times => 1, StediProxy::error_reply(400, 'ExpiredToken'));
	$before = asked('GET /container');
	is(one("SET stedi.max_attempts = 1;\n$query{$method}"), $result{$method}, "$method: an expired token is renewed");
	is(asked('GET /container') - $before, 2, "$method: once");
	$proxy->clear;
	$proxy->rule(%{ $which{$method} }, times => 2, StediProxy::error_reply(400, 'ExpiredToken'));
	is_error($node, $query{$method}, '28000', "$method: twice", message => qr/refused the credentials/,
		detail => qr/ExpiredToken/, hint => qr/whoami/);
}
$proxy->clear;

# Nobody answers.
give(hang => 1);
start_query($session, "DROP SERVER lake CASCADE;\n" . 'CREATE SERVER lake FOREIGN DATA WRAPPER stedi OPTIONS (endpoint '
	  . quote($ENV{STEDI_S3_ENDPOINT}) . ", url_style 'path', credentials 'chain')");
finish_query($session);
start_query($session, $list);
ok(wait_until('a request for keys', sub { asked('GET /container') > $before + 2 }), 'a session waits for keys');
$start = time;
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $backend . ')');
like((finish_query($session))[1], qr/57014/, 'and can be cancelled');
cmp_ok(time - $start, '<', 1, 'at once');
give();
start_query($session, $list);
is((finish_query($session))[0], '3', 'the session goes on');

# A session that used the chain leaks no descriptor.
my $fds = remote_fds($backend);
for (1 .. 3)
{
	start_query($session, "ALTER SERVER lake OPTIONS (ADD region 'us-east-1');\nALTER SERVER lake OPTIONS (DROP region);\n$list");
	finish_query($session);
}
is(remote_fds($backend), $fds, 'no descriptor is left open');
$session->quit;

# An instance.
restart_with(AWS_EC2_METADATA_DISABLED => '', AWS_EC2_METADATA_SERVICE_ENDPOINT => "$fake/");
works('instance metadata', 'an instance');
cmp_ok(asked('PUT /latest/api/token'), '>', 0, 'by version 2 of its metadata service');

# Nothing secret anywhere.
for my $log ($node->logfile, $PostgreSQL::Test::Utils::test_logfile // ())
{
	my $text = slurp_file($log);
	is(index($text, $secret), -1, 'the secret is in no log');
	unlike($text, qr/eyJ[.]token|Bearer (?:one|two)|role-token/, 'nor is a token');
}

close $to;
done_testing();
