
# Who answers may be anybody: what it says is no part of an error, but for what S3
# says in the form that S3 has, and then without what terminals obey.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use StediProxy;
use StediS3;
use StediTest;
use Test::More;

my $s3 = StediS3->new;
my $proxy = StediProxy->new;
my $node = lake_node('faults', endpoint => $proxy->endpoint, conf => "log_min_messages = debug1\n");
my $marker = 'MARKER-d41d8cd9';

sub one { return $node->safe_psql('postgres', $_[0]) }

$s3->put(key('in/one.json'), qq({"n":1}\n));
my $list = 'SELECT uri FROM stedi.list_objects(' . quote(uri('in/')) . ')';
my $read = 'SELECT value FROM stedi.read_json(' . quote(uri('in/')) . ')';
my $write = q{SELECT rows FROM stedi.export_query('SELECT 1', } . quote(uri('out/')) . q{, mode => 'overwrite')};
my %requests = (
	list => [ $list, method => 'GET', target => 'list-type=2' ],
	read => [ $read, method => 'GET', target => 'one[.]json' ],
	write => [ $write, method => 'PUT', target => 'out/part' ]);

# The error of a statement while a rule holds for its request.
sub error
{
	my ($request, $what, %rule) = @_;
	my ($sql, @match) = @{ $requests{$request} };
	$proxy->clear;
	$proxy->rule(@match, times => 0, %rule);
	my $error = sql_error($node, "SET stedi.max_attempts = 2;\n$sql");
	ok(scalar($proxy->faults), "$request: $what: it did happen");
	$proxy->clear;
	ok($error, "$request: $what: an error") or return { text => '' };
	return $error;
}

# Endpoints that are no object store.
my $page = "<html><head><title>$marker</title></head><body>$marker</body></html>";
my @strangers = (
	[ 'a web page, 200', qr/08P01|58030|55000/, action => 'reply', status => 200, body => $page, headers => { 'Content-Type' => 'text/html', ETag => "\"$marker\"" } ],
	[ 'a web page, 404', qr/58P01/, action => 'reply', status => 404, body => $page ],
	[ 'a web page, 403', qr/42501/, action => 'reply', status => 403, body => $page ],
	[ 'a web page, 500', qr/08006/, action => 'reply', status => 500, body => $page ],
	[ 'JSON, 200', qr/08P01|58030/, action => 'reply', status => 200, body => qq({"error":"$marker"}) ],
	[ 'JSON, 401', qr/28000/, action => 'reply', status => 401, body => qq({"token":"$marker"}) ],
	[ 'other XML', qr/08P01/, action => 'reply', status => 400, body => "<Problem><Code>$marker</Code><Message>$marker</Message></Problem>" ],
	[ 'headers', qr/08P01/, action => 'reply', status => 400,
		headers => { Server => $marker, 'Content-Range' => $marker, 'x-amz-bucket-region' => $marker, 'Retry-After' => $marker, Location => "http://$marker/", Date => $marker } ],
	[ 'SSH', qr/08P01/, action => 'raw', body => "SSH-2.0-$marker\r\n" ],
	[ 'SMTP', qr/08P01/, action => 'raw', body => "220 mail.example ESMTP $marker\r\n" ],
	[ 'Redis', qr/08P01/, action => 'raw', body => "-ERR unknown command $marker\r\n" ],
	[ 'FTP', qr/08P01/, action => 'raw', body => "220-$marker\r\n220 ready\r\n" ],
	[ 'a MySQL server', qr/08P01/, action => 'raw', body => "J\0\0\0\n8.0.36-$marker\0" ],
	[ 'a status line with words', qr/08P01/, action => 'raw', body => "HTTP/1.1 418 $marker\r\nContent-Length: 0\r\n\r\n" ],
	[ 'a length that is none', qr/08P01|08006|58030/, action => 'raw', body => "HTTP/1.1 200 OK\r\nContent-Length: $marker\r\n\r\n" ],
	[ 'an unknown encoding', qr/08P01|08006|58030|42501/, action => 'raw', body => "HTTP/1.1 403 No\r\nTransfer-Encoding: $marker\r\n\r\n" ],
	[ 'a redirect', qr/08P01/, action => 'reply', status => 302, headers => { Location => "http://127.0.0.1:1/$marker" } ],
	[ 'a permanent redirect', qr/08P01/, action => 'reply', status => 308, headers => { Location => "file:///$marker" } ]);
for my $request (sort keys %requests)
{
	for my $stranger (@strangers)
	{
		my ($what, $sqlstate, %rule) = @$stranger;
		my $error = error($request, $what, %rule);
		like($error->{sqlstate}, $sqlstate, "$request: $what: SQLSTATE") or diag $error->{text};
		is(index($error->{text}, $marker), -1, "$request: $what: is not repeated") or diag $error->{text};
	}
}
is(index(slurp_file($node->logfile), $marker), -1, 'nor does the server log repeat anything');
is(one($list), uri('in/one.json'), 'the list is right after all that');

# What S3 says is repeated, without control characters of 7 and of 8 bits.
sub control { return $_[0] =~ /[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]/ }
my $evil = "a\x1b[2Jb\x07c\x{9b}31md";
my $entities = 'a&#x9b;31mb&#x85;c&#10;d&#x7f;e';
for my $request (sort keys %requests)
{
	for my $case (
		[ 'entities', action => 'reply', status => 400, body => "<Error><Code>Bad$entities</Code><Message>So $entities</Message><RequestId>R$entities</RequestId></Error>" ],
		[ 'raw bytes', action => 'reply', status => 400, body => "<Error><Code>Bad$evil</Code><Message>So $evil</Message></Error>" ],
		[ 'headers', action => 'raw', body => "HTTP/1.1 400 Bad\r\nx-amz-request-id: R\x1b[2J\x9b31m\x07\r\nContent-Length: 0\r\n\r\n" ])
	{
		my ($what, %rule) = @$case;
		my $error = error($request, "control characters in $what", %rule);
		is($error->{sqlstate}, '08P01', "$request: control characters in $what: SQLSTATE");
		ok(!control($error->{text}), "$request: control characters in $what: the error has none") or diag $error->{text};
		like($error->{detail}, qr/S3 code Bada\?\?31mb\?\?c\?d\?e, message "So a.*", request id Ra/, "$request: $what: the rest is there")
		  if $what eq 'entities';
	}
}

# What was sent is not repeated when the other side does: see also 006_errors.pl.
my $error = error('list', 'it quotes the secret', StediProxy::error_reply(403, "Bad$ENV{STEDI_S3_SECRET_ACCESS_KEY}"));
is(index($error->{text}, $ENV{STEDI_S3_SECRET_ACCESS_KEY}), -1, 'a secret that is quoted is not repeated');

# Keys may have control characters; what is loaded from such objects names them as
# they are, but no message does.
my $name = "in2/a\x08b\x1b[2Jc\nd\xc2\x9b31m.json";
$s3->put(key($name), qq({"n":1}\n{"n":\n));
is(one('SELECT count(*) FROM stedi.list_objects(' . quote(uri('in2/')) . ') WHERE uri = ' . quote(uri($name))), '1', 'a key with control characters is listed as it is');
one('CREATE TABLE t (n int, record_id bigint)');
my $load = 'SELECT status FROM stedi.load(' . quote('t') . ', ' . quote(uri('in2/'));
my %gone = (method => 'GET', target => 'in2/a', times => 0, StediProxy::error_reply(404, 'NoSuchKey'));
for my $case ([ 'a damaged record', '22032', "$load)" ], [ 'a bad value', '22032', 'SELECT * FROM stedi.read_json(NULL::t, ' . quote(uri('in2/')) . ')' ],
	[ 'a lost object', '58P01', "$load)", \%gone ])
{
	my ($what, $sqlstate, $sql, $rule) = @$case;
	$proxy->clear;
	$proxy->rule(%$rule) if $rule;
	$error = sql_error($node, $sql);
	is($error->{sqlstate}, $sqlstate, "$what: SQLSTATE");
	like($error->{text}, qr/in2\/a/, "$what: the error names the object");
	ok(!control($error->{text} =~ s/\tat .*//r), "$what: without control characters") or diag $error->{text};
}
$proxy->clear;
$proxy->rule(%gone);
one("SET client_min_messages = error; $load, on_error => 'reject')");
$proxy->clear;
is(one(q{SELECT error ~ '[[:cntrl:]]' FROM stedi.object WHERE status = 'failed'}), 'f', 'nor does the ledger keep any in an error');

# In the server log control characters stand only where statements are quoted.
my @lines = grep { /(?:ERROR|WARNING|DETAIL|HINT|CONTEXT|DEBUG):/ && control($_) } split /\n/, slurp_file($node->logfile);
is_deeply(\@lines, [], 'no message in the server log has control characters');

done_testing();
