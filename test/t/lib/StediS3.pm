
# boto3, asked from Perl: an S3 client that shares no code with stedi.
#
# A Python process of its own answers one JSON line with another.  Keys are byte
# strings in UTF-8 on the Perl side.
package StediS3;

use strict;
use warnings;

use Encode qw(decode encode);
use FindBin;
use IPC::Open2;
use JSON::PP;
use PostgreSQL::Test::Utils;
use StediTest ();

my $program = <<'PYTHON';
import json, os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import s3client
from botocore.exceptions import ClientError

s3 = s3client.connect()
bucket = os.environ["STEDI_S3_BUCKET"]

def put_file(key, path):
    s3.upload_file(path, bucket, key)

def put_many(prefix, names, body):
    for name in names:
        s3.put_object(Bucket=bucket, Key=prefix + name, Body=body.encode())

def sync(path, prefix):
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            file = os.path.join(folder, name)
            put_file(prefix + os.path.relpath(file, path), file)

def get_file(key, path):
    s3.download_file(bucket, key, path)

def head(key):
    reply = s3.head_object(Bucket=bucket, Key=key)
    return {"etag": reply["ETag"].strip('"'), "size": reply["ContentLength"],
            "type": reply.get("ContentType"),
            "encoding": reply.get("ContentEncoding")}

def ls(prefix):
    pages = s3.get_paginator("list_objects_v2")
    return [entry["Key"]
            for page in pages.paginate(Bucket=bucket, Prefix=prefix)
            for entry in page.get("Contents", [])]

def uploads(prefix):
    reply = s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix)
    return [upload["Key"] for upload in reply.get("Uploads", [])]

def start_upload(key):
    return s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]

def rm(key):
    s3.delete_object(Bucket=bucket, Key=key)

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"value": globals()[name](*arguments)}
    except ClientError as error:
        answer = {"error": error.response["Error"]["Code"] + ": " + str(error)}
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
PYTHON

my $json = JSON::PP->new->ascii->allow_nonref;

sub new
{
	my ($class) = @_;
	StediTest::need_s3();
	my $pid = open2(my $from, my $to, '/usr/bin/python3', '-c', $program,
		"$FindBin::RealBin/../s3");
	my $file = PostgreSQL::Test::Utils::tempdir() . '/contents';
	return bless { from => $from, to => $to, pid => $pid, file => $file }, $class;
}

sub ask
{
	my ($self, @words) = @_;
	print { $self->{to} } $json->encode(\@words), "\n";
	$self->{to}->flush;
	my $line = readline $self->{from};
	die "the S3 client has ended\n" unless defined $line;
	my $answer = $json->decode($line);
	die "$words[0]: $answer->{error}\n" if defined $answer->{error};
	return $answer->{value};
}

sub text { return decode('UTF-8', $_[0]) }

# Contents go through a file.
sub put
{
	my ($self, $key, $body) = @_;
	open(my $file, '>:raw', $self->{file}) or die "$self->{file}: $!\n";
	print $file $body;
	close $file;
	$self->put_file($key, $self->{file});
	return;
}

sub get
{
	my ($self, $key) = @_;
	$self->ask('get_file', text($key), $self->{file});
	return slurp_file($self->{file});
}

sub put_file { $_[0]->ask('put_file', text($_[1]), $_[2]) }
sub put_many { $_[0]->ask('put_many', text($_[1]), [ map { text($_) } @{ $_[2] } ], $_[3]) }
sub sync { $_[0]->ask('sync', $_[1], text($_[2])) }
sub head { return $_[0]->ask('head', text($_[1])) }
sub ls { return map { encode('UTF-8', $_) } @{ $_[0]->ask('ls', text($_[1])) } }
sub uploads { return map { encode('UTF-8', $_) } @{ $_[0]->ask('uploads', text($_[1])) } }
sub start_upload { return $_[0]->ask('start_upload', text($_[1])) }
sub rm { $_[0]->ask('rm', text($_[1])) }

sub DESTROY
{
	my ($self) = @_;
	return if ${^GLOBAL_PHASE} eq 'DESTRUCT';    # it ends with us
	local ($?, $!);
	close $self->{to};
	close $self->{from};
	waitpid $self->{pid}, 0;
	return;
}

1;
