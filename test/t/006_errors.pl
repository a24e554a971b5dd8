
# What can go wrong between a user and a bucket says so: with the right SQLSTATE,
# in words that help, and never with a secret.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use StediS3;
use StediTest;
use Test::More;

my $node = lake_node('errors', conf => "log_min_messages = debug1\n");
my $s3 = StediS3->new;
my $wrong = 'WrongSecret' . 'x' x 29;
my %good = (id => $ENV{STEDI_S3_ACCESS_KEY_ID}, secret => $ENV{STEDI_S3_SECRET_ACCESS_KEY});

sub one { return $node->safe_psql('postgres', $_[0]) }
sub list { return 'SELECT uri FROM stedi.list_objects(' . quote($_[0]) . ')' }

# A server for what is below a prefix of ours; returns a query that uses it.
sub lake
{
	my ($name, %options) = @_;
	my %server = (
		scope => uri("$name/"), region => $ENV{STEDI_S3_REGION},
		endpoint => $ENV{STEDI_S3_ENDPOINT}, url_style => 'path', %{ $options{server} // {} });
	my %mapping = (%good, %{ $options{mapping} // {} });
	my $settings = join ', ', map { "$_ " . quote($server{$_}) } sort keys %server;
	my ($id, $secret) = (quote($mapping{id}), quote($mapping{secret}));
	one(<<"SQL");
SET log_statement = none;
SET log_min_error_statement = panic;
CREATE SERVER "$name" FOREIGN DATA WRAPPER stedi OPTIONS ($settings);
CREATE USER MAPPING FOR CURRENT_USER SERVER "$name" OPTIONS (access_key_id $id, secret_access_key $secret);
SQL
	return list(uri("$name/"));
}

$s3->put(key("$_/there.json"), '{"n":1}') for qw(tls virtual tlsvirtual);

is_error($node, lake('secret', mapping => { secret => $wrong }), '28000', 'wrong secret',
	message => qr/refused the credentials/, detail => qr/SignatureDoesNotMatch|AccessDenied/, hint => qr/secret_access_key/);
is_error($node, lake('id', mapping => { id => 'NOBODYSKEYID00000000' }), '28000', 'unknown key id',
	message => qr/refused the credentials/, hint => qr/access_key_id/,
	detail => server_has('key-id') ? qr/InvalidAccessKeyId/ : qr/SignatureDoesNotMatch/);
is_error($node, list('s3://no-such-bucket-here/'), '58P01', 'no such bucket',
	message => qr/bucket "no-such-bucket-here" does not exist/, detail => qr/NoSuchBucket.*request id/, hint => qr/name of the bucket/);
is_error($node, list(uri('absent.json')), '58P01', 'no such key', message => qr/absent[.]json/);
is_error($node, 'SELECT * FROM stedi.read_json(' . quote(uri('absent.json')) . ')', '58P01',
	'reading no such key', message => qr/absent[.]json/);
is_error($node, 'SELECT * FROM stedi.read_json(' . quote(uri('absent/')) . ')', '58P01',
	'reading an empty prefix', message => qr/no object matches/);
is_error($node, list("s3://$ENV{STEDI_S3_OTHER_BUCKET}/"), '42501', "somebody else's bucket",
	message => qr/permission denied to list bucket/, detail => qr/AccessDenied/, hint => qr/policies.*whoami/);
is_error($node, "SELECT * FROM stedi.export_query('SELECT 1', 's3://$ENV{STEDI_S3_OTHER_BUCKET}/x/')", '42501',
	"writing to somebody else's bucket", message => qr/permission denied/, hint => qr/policies.*whoami/);

# A port that nobody listens on.
my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1);
my $free = $socket->sockport;
close $socket;
is_error($node, "SET stedi.max_attempts = 2;\n" . lake('nobody', server => { endpoint => "http://127.0.0.1:$free" }),
	'08006', 'nobody listens', message => qr/could not connect.*127[.]0[.]0[.]1:$free/, detail => qr/2 attempts/, hint => qr/endpoint/);
is_error($node, "SET stedi.max_attempts = 1;\n" . lake('unknown', server => { endpoint => 'http://no-such-host.invalid' }),
	'08006', 'no such host', message => qr/could not connect/, hint => qr/endpoint/);
is_error($node, "SET stedi.max_attempts = 1;\n" . lake('plain', server => { endpoint => $ENV{STEDI_S3_ENDPOINT} =~ s/^http:/https:/r }),
	'08006', 'TLS where there is none', hint => qr/http/);

is_error($node, lake('untrusted', server => { endpoint => $ENV{STEDI_S3_TLS_ENDPOINT} }), '08006', 'a CA that is not trusted',
	message => qr/certificate.*not trusted/, hint => qr/ca_file/);
is_error($node, lake('noca', server => { endpoint => $ENV{STEDI_S3_TLS_ENDPOINT}, ca_file => '/nonexistent/ca.pem' }),
	'08006', 'a CA file that is not there', hint => qr/ca_file/);
my %tls = (endpoint => $ENV{STEDI_S3_TLS_ENDPOINT}, ca_file => $ENV{STEDI_S3_CA_FILE});
is(one(lake('tls', server => {%tls})), uri('tls/there.json'), 'with ca_file, TLS works');
is(one(lake('virtual', server => { endpoint => $ENV{STEDI_S3_DNS_ENDPOINT}, url_style => 'virtual' })),
	uri('virtual/there.json'), 'the bucket in the host name');
is(one(lake('tlsvirtual', server => { %tls, url_style => 'virtual' })),
	uri('tlsvirtual/there.json'), 'the bucket in the host name, over TLS');
is(one('SELECT value FROM stedi.read_json(' . quote(uri('tlsvirtual/there.json')) . ')'), '{"n": 1}', 'reading over TLS');
is(one("SELECT rows FROM stedi.export_query('SELECT 1', " . quote(uri('tlsvirtual/out/')) . ')'), '1', 'writing over TLS');

# What a user may do.
my $dir = scratch_dir();
append_to_file("$dir/x.json", '{"n":1}');
one(<<'SQL');
CREATE ROLE analyst;
GRANT USAGE ON SCHEMA stedi TO analyst;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA stedi TO analyst;
SQL
is_error($node, "SET ROLE analyst;\n" . list("file://$dir/"), '42501', 'reading files',
	message => qr/permission denied/, hint => qr/GRANT pg_read_server_files TO analyst/);
is_error($node, "SET ROLE analyst;\nSELECT * FROM stedi.read_json('file://$dir/x.json')", '42501', 'reading one file',
	hint => qr/GRANT pg_read_server_files TO analyst/);
is_error($node, "SET ROLE analyst;\nSELECT * FROM stedi.export_query('SELECT 1', 'file://$dir/out/')", '42501', 'writing files',
	message => qr/permission denied/, hint => qr/GRANT pg_write_server_files TO analyst/);
is_error($node, "SET ROLE analyst;\n" . list(uri()), '42501', 'a server without USAGE',
	message => qr/permission denied for foreign server/, hint => qr/GRANT USAGE ON FOREIGN SERVER \w+ TO analyst/);
one('GRANT USAGE ON FOREIGN SERVER lake TO analyst; GRANT pg_read_server_files TO analyst');
is_error($node, "SET ROLE analyst;\n" . list(uri()), '28000', 'no user mapping',
	message => qr/no credentials for server "lake"/, hint => qr/CREATE USER MAPPING FOR analyst SERVER lake/);
is(one("SET ROLE analyst;\n" . list("file://$dir/")), "file://$dir/x.json", 'with the role, files can be read');
is_error($node, list("file://$dir"), '22023', 'a directory without its slash', message => qr/is a directory/, hint => qr{end it with '/'});
mkdir "$dir/closed", 0 or die $!;
is_error($node, list("file://$dir/closed/"), '42501', "a directory that is not the server's to read",
	message => qr/Permission denied/, hint => qr/operating system user/);
is_error($node, "SET ROLE analyst;\nSELECT * FROM stedi.load('stedi.customer_landing', 'file://$dir/')", '42501',
	'loading a table without INSERT', message => qr/permission denied for table customer_landing/);

one("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
is_error($node, "\\connect latin\nCREATE EXTENSION stedi;\n" . list("file://$dir/"), '0A000', 'a database that is not UTF8',
	hint => qr/ENCODING 'UTF8'/);

# Options.
is_error($node, q{CREATE SERVER typo FOREIGN DATA WRAPPER stedi OPTIONS (endpiont 'x')}, 'HV00D', 'an unknown server option',
	message => qr/"endpiont"/, hint => qr/scope, region, endpoint, url_style, ca_file, proxy, credentials/);
is_error($node, q{CREATE USER MAPPING FOR PUBLIC SERVER lake OPTIONS (acces_key_id 'x')}, 'HV00D', 'an unknown mapping option',
	message => qr/"acces_key_id"/, hint => qr/access_key_id, secret_access_key, session_token/);
is_error($node, q{ALTER FOREIGN DATA WRAPPER stedi OPTIONS (region 'x')}, 'HV00D', 'an option of the wrapper', hint => qr/no valid options/);
is_error($node, q{CREATE SERVER bad FOREIGN DATA WRAPPER stedi OPTIONS (url_style 'host')}, '22023', 'a bad value', hint => qr/path and virtual/);

# URIs.
for my $uri ('', 'nothing', '/dir/', 's3://', 's3:///key', 's3://bad bucket/key', 's3://../key', 'file://relative/x',
	's3://user:hunter2@bucket/key', "s3://bucket/\x01", 's3://bucket/key?region=eu', 's3://b/' . 'x' x 1025)
{
	my $error = is_error($node, list($uri), '22023', 'URI "' . substr($uri, 0, 40) . '"', message => qr/URI/);
	unlike($error->{text}, qr/hunter2/, 'the password is not shown') if $uri =~ /hunter2/;
}
is_error($node, list('http://host/x'), '0A000', 'another scheme', hint => qr{s3://bucket/key or file:///path});
is_error($node, "SELECT * FROM stedi.export_query('SELECT 1', " . quote(uri('not-a-prefix')) . ')', '22023', 'an export target that is no prefix',
	hint => qr{/});

# Nothing secret anywhere: in this test's log are all messages that psql got.
my $id = $ENV{STEDI_S3_ACCESS_KEY_ID};
for my $log ($node->logfile, $PostgreSQL::Test::Utils::test_logfile // ())
{
	my $text = slurp_file($log);
	cmp_ok(length $text, '>', 1000, 'there is a log');
	is(index($text, $good{secret}), -1, 'the secret is not in it');
	is(index($text, $wrong), -1, 'nor is the wrong one');
	unlike($text, qr/AWS4-HMAC|Signature=|StringToSign/, 'nor is a signature');
	unlike($text, qr/(?:DETAIL|HINT|ERROR|CONTEXT):.*\Q$id\E/, 'nor is a key id in a message');
}

done_testing();
