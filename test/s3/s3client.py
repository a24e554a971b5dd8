#!/usr/bin/python3
"""A small S3 client on boto3, for the tests to compare stedi against.

It shares no code with stedi, so that an object written by one and read by
the other says something.  Endpoint and credentials come from the variables
that test/s3/radosgw and test/s3/swift write to their env file:

    STEDI_S3_ENDPOINT  STEDI_S3_REGION  STEDI_S3_CA_FILE (for https)
    STEDI_S3_ACCESS_KEY_ID  STEDI_S3_SECRET_ACCESS_KEY  STEDI_S3_SESSION_TOKEN

The interpreter is the distribution's, the one python3-boto3 is installed for.
"""

import argparse
import os
import shutil
import sys

# Only the variables above decide; nobody's AWS profile may interfere.
for name in [n for n in os.environ if n.startswith("AWS_")]:
    del os.environ[name]
os.environ["AWS_CONFIG_FILE"] = os.devnull
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["NO_PROXY"] = "127.0.0.1,localhost,.localhost"

import boto3  # noqa: E402
import botocore.config  # noqa: E402
import botocore.exceptions  # noqa: E402


def connect(env=os.environ):
    """Return a client for the endpoint that env describes."""
    return boto3.client(
        "s3",
        endpoint_url=env["STEDI_S3_ENDPOINT"],
        region_name=env.get("STEDI_S3_REGION", "us-east-1"),
        aws_access_key_id=env["STEDI_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=env["STEDI_S3_SECRET_ACCESS_KEY"],
        aws_session_token=env.get("STEDI_S3_SESSION_TOKEN") or None,
        verify=env.get("STEDI_S3_CA_FILE") or None,
        config=botocore.config.Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=5,
            retries={"max_attempts": 2}))


def split_uri(uri):
    """Split s3://bucket/key; the key may be empty and is taken literally."""
    if not uri.startswith("s3://"):
        raise SystemExit(f"not an s3:// URI: {uri}")
    bucket, _, key = uri[len("s3://"):].partition("/")
    if not bucket:
        raise SystemExit(f"no bucket in URI: {uri}")
    return bucket, key


def list_objects(s3, uri):
    bucket, prefix = split_uri(uri)
    pages = s3.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            yield bucket, entry


def do_mb(s3, args):
    bucket, _ = split_uri(args.uri)
    s3.create_bucket(Bucket=bucket)


def do_put(s3, args):
    bucket, key = split_uri(args.uri)
    if key == "" or key.endswith("/"):
        key += os.path.basename(args.file)
    s3.upload_file(args.file, bucket, key)


def do_get(s3, args):
    bucket, key = split_uri(args.uri)
    s3.download_file(bucket, key, args.file)


def do_cat(s3, args):
    bucket, key = split_uri(args.uri)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    shutil.copyfileobj(body, sys.stdout.buffer)


def do_ls(s3, args):
    for bucket, entry in list_objects(s3, args.uri):
        print(f"{entry['Size']}\ts3://{bucket}/{entry['Key']}")


def do_rm(s3, args):
    bucket, key = split_uri(args.uri)
    if not args.recursive:
        s3.delete_object(Bucket=bucket, Key=key)
        return
    for _, entry in list_objects(s3, args.uri):
        s3.delete_object(Bucket=bucket, Key=entry["Key"])


def do_uploads(s3, args):
    bucket, prefix = split_uri(args.uri)
    pages = s3.get_paginator("list_multipart_uploads")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", []):
            print(f"{upload['UploadId']}\ts3://{bucket}/{upload['Key']}")


def do_sync(s3, args):
    """Upload every file below a directory, hidden ones too; remove nothing."""
    bucket, prefix = split_uri(args.uri)
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    for folder, _, names in os.walk(args.dir):
        for name in sorted(names):
            path = os.path.join(folder, name)
            key = prefix + os.path.relpath(path, args.dir).replace(os.sep, "/")
            s3.upload_file(path, bucket, key)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Small S3 client for the tests; endpoint and credentials"
        " come from STEDI_S3_* variables.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, function, help_text, *operands):
        sub = commands.add_parser(name, help=help_text)
        for operand in operands:
            sub.add_argument(operand)
        sub.set_defaults(function=function)
        return sub

    command("mb", do_mb, "make a bucket", "uri")
    command("put", do_put, "upload a file", "file", "uri")
    command("get", do_get, "download to a file", "uri", "file")
    command("cat", do_cat, "write an object to stdout", "uri")
    command("ls", do_ls, "list a prefix: size, URI", "uri")
    sub = command("rm", do_rm, "delete an object", "uri")
    sub.add_argument("-r", "--recursive", action="store_true",
                     help="delete everything under the prefix")
    command("uploads", do_uploads,
            "list open multipart uploads: upload id, URI", "uri")
    command("sync", do_sync, "upload a directory under a prefix", "dir", "uri")
    return parser.parse_args()


def main():
    args = parse_arguments()
    try:
        args.function(connect(), args)
    except KeyError as missing:
        raise SystemExit(f"s3client: {missing.args[0]} is not set")
    except (botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
            boto3.exceptions.Boto3Error,
            OSError) as error:
        raise SystemExit(f"s3client: {error}")


if __name__ == "__main__":
    main()
