/*
 * test_sigv4.c
 *		Signatures against the examples that AWS publishes, and against what
 *		botocore computes for keys, queries and headers that are less tame.
 *
 * The intermediates are compared in the order in which they arise, so that the
 * first failure names the step that is wrong.
 */
#include <stdint.h>
#include <stdlib.h>

#include "core/sigv4.h"
#include "core/uri.h"
#include "tap.h"

#define AWS_KEY_ID	"AKIAIOSFODNN7EXAMPLE"
#define AWS_SECRET	"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define AWS_TIME	1369353600	/* 2013-05-24 00:00:00 UTC */
#define AWS_HOST	"examplebucket.s3.amazonaws.com"
#define OUR_SECRET	"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define OUR_TIME	1709251198	/* 2024-02-29 23:59:58 UTC */
#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))

static void
check(const char *name, const StediSigv4Request *request, const char *canonical_request,
	  const char *string_to_sign, const char *signature, const char *authorization)
{
	StediSigv4Result result;
	StediStatus status;
	char		label[128];

	snprintf(label, sizeof(label), "%s: is signed", name);
	if (!ok(stedi_sigv4_sign(request, &result, &status), label))
	{
		printf("# %s\n", status.message);
		return;
	}
	snprintf(label, sizeof(label), "%s: canonical request", name);
	is(result.canonical_request.data, canonical_request, label);
	snprintf(label, sizeof(label), "%s: string to sign", name);
	is(result.string_to_sign.data, string_to_sign, label);
	snprintf(label, sizeof(label), "%s: signature", name);
	is(result.signature, signature, label);
	if (authorization != NULL)
	{
		snprintf(label, sizeof(label), "%s: authorization", name);
		is(result.authorization.data, authorization, label);
	}
	stedi_sigv4_result_free(&result);
}

/* Amazon S3 API reference, "Signature Calculations for the Authorization
 * Header: Transferring Payload in a Single Chunk", the four examples. */
static void
test_published_examples(void)
{
	const StediPair get_headers[] = {
		{"Host", AWS_HOST}, {"Range", "bytes=0-9 "},
		{"x-amz-content-sha256", STEDI_SIGV4_EMPTY_SHA256}, {"x-amz-date", "20130524T000000Z"},
	};
	const StediPair put_headers[] = {
		{"x-amz-storage-class", "REDUCED_REDUNDANCY"}, {"Host", AWS_HOST},
		{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-date", " 20130524T000000Z "},
		{"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
	};
	const StediPair other_headers[] = {
		{"x-amz-date", "20130524T000000Z"}, {"Host", AWS_HOST},
		{"x-amz-content-sha256", STEDI_SIGV4_EMPTY_SHA256},
	};
	const StediPair lifecycle[] = {{"lifecycle", ""}};
	const StediPair list[] = {{"prefix", "J"}, {"max-keys", "2"}};
	StediSigv4Request request = {
		.method = "GET", .path = "/test.txt",
		.headers = get_headers, .n_headers = LENGTH(get_headers),
		.payload_sha256 = STEDI_SIGV4_EMPTY_SHA256,
		.region = "us-east-1", .service = "s3",
		.access_key_id = AWS_KEY_ID, .secret_access_key = AWS_SECRET, .when = AWS_TIME,
	};
	StediBytes	path;
	char		payload[STEDI_SHA256_HEX_SIZE];

	check("GET object", &request,
		  "GET\n/test.txt\n\n"
		  "host:examplebucket.s3.amazonaws.com\n"
		  "range:bytes=0-9\n"
		  "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
		  "x-amz-date:20130524T000000Z\n\n"
		  "host;range;x-amz-content-sha256;x-amz-date\n"
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
		  "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
		  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		  "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
		  "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
		  "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

	stedi_bytes_init(&path, 0);
	stedi_percent_encode(&path, "/test$file.text", strlen("/test$file.text"), true);
	stedi_sha256_hex("Welcome to Amazon S3.", 21, payload);
	request.method = "PUT";
	request.path = path.data;
	request.headers = put_headers;
	request.n_headers = LENGTH(put_headers);
	request.payload_sha256 = payload;
	check("PUT object", &request,
		  "PUT\n/test%24file.text\n\n"
		  "date:Fri, 24 May 2013 00:00:00 GMT\n"
		  "host:examplebucket.s3.amazonaws.com\n"
		  "x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n"
		  "x-amz-date:20130524T000000Z\n"
		  "x-amz-storage-class:REDUCED_REDUNDANCY\n\n"
		  "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class\n"
		  "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
		  "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
		  "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
		  "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", NULL);
	stedi_bytes_free(&path);

	request.method = "GET";
	request.path = "/";
	request.query = lifecycle;
	request.n_query = LENGTH(lifecycle);
	request.headers = other_headers;
	request.n_headers = LENGTH(other_headers);
	request.payload_sha256 = STEDI_SIGV4_EMPTY_SHA256;
	check("GET bucket lifecycle", &request,
		  "GET\n/\nlifecycle=\n"
		  "host:examplebucket.s3.amazonaws.com\n"
		  "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
		  "x-amz-date:20130524T000000Z\n\n"
		  "host;x-amz-content-sha256;x-amz-date\n"
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
		  "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
		  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", NULL);

	request.query = list;
	request.n_query = LENGTH(list);
	check("list objects", &request,
		  "GET\n/\nmax-keys=2&prefix=J\n"
		  "host:examplebucket.s3.amazonaws.com\n"
		  "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
		  "x-amz-date:20130524T000000Z\n\n"
		  "host;x-amz-content-sha256;x-amz-date\n"
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
		  "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
		  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", NULL);
}

/* Expected values computed with botocore 1.29, S3SigV4Auth. */
static void
test_same_as_botocore(void)
{
	static const char key[] =
		"/a b/../c//+%41~$&,:;=?@#/\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80.json";
	const StediPair headers[] = {
		{"Host", "lake.s3.eu-central-1.amazonaws.com"},
		{"X-Amz-Date", "20240229T235958Z"},
		{"X-Amz-Content-SHA256", STEDI_SIGV4_EMPTY_SHA256},
	};
	const StediPair query[] = {
		{"prefix", "a/b c+d"}, {"list-type", "2"}, {"encoding-type", "url"},
		{"continuation-token", "1/=+ab=="}, {"a-b", "2"}, {"a", "1"}, {"A", "0"},
		{"start-after", "\xC3\xBC&x=y"},
	};
	static const char payload[] =
		"e346432021b04179518d9614f3560ccd71354a4ee101ddcb893d6959a9d6301c";
	const StediPair put_headers[] = {
		{"Host", "127.0.0.1:9000"}, {"X-Amz-Date", "20240229T235958Z"},
		{"X-Amz-Content-SHA256", payload},
		{"X-Amz-Security-Token", "FwoGZXIvYXdzEXAMPLE//token=="},
		{"Content-Type", "  application/x-ndjson;   charset=utf-8 "},
		{"x-amz-meta-b", "two \t words"}, {"X-Amz-Meta-A", "1"}, {"If-None-Match", "*"},
	};
	const StediPair part[] = {{"uploadId", "2~abc/def"}, {"partNumber", "10"}};
	StediSigv4Request request = {
		.method = "GET", .headers = headers, .n_headers = LENGTH(headers),
		.payload_sha256 = STEDI_SIGV4_EMPTY_SHA256,
		.region = "eu-central-1", .service = "s3",
		.access_key_id = "AKIDEXAMPLE", .secret_access_key = OUR_SECRET, .when = OUR_TIME,
	};
	StediBytes	path;

	stedi_bytes_init(&path, 0);
	stedi_percent_encode(&path, key, strlen(key), true);
	request.path = path.data;
	check("key that is not normalised", &request,
		  "GET\n/a%20b/../c//%2B%2541~%24%26%2C%3A%3B%3D%3F%40%23/%C3%A9%E4%B8%AD%F0%9F%98%80.json\n\n"
		  "host:lake.s3.eu-central-1.amazonaws.com\n"
		  "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
		  "x-amz-date:20240229T235958Z\n\n"
		  "host;x-amz-content-sha256;x-amz-date\n"
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  "AWS4-HMAC-SHA256\n20240229T235958Z\n20240229/eu-central-1/s3/aws4_request\n"
		  "38cd71c45fc4279a7916cb64ddafbd8afb002ba670851b32ece3e21b9af27501",
		  "7a511814b0a6d5e0d2707bc2d1beede915031da39b719298b49ef55c4aab4ba4", NULL);
	stedi_bytes_free(&path);

	request.path = "/";
	request.query = query;
	request.n_query = LENGTH(query);
	check("query sorted after encoding", &request,
		  "GET\n/\n"
		  "A=0&a=1&a-b=2&continuation-token=1%2F%3D%2Bab%3D%3D&encoding-type=url&list-type=2"
		  "&prefix=a%2Fb%20c%2Bd&start-after=%C3%BC%26x%3Dy\n"
		  "host:lake.s3.eu-central-1.amazonaws.com\n"
		  "x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
		  "x-amz-date:20240229T235958Z\n\n"
		  "host;x-amz-content-sha256;x-amz-date\n"
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		  "AWS4-HMAC-SHA256\n20240229T235958Z\n20240229/eu-central-1/s3/aws4_request\n"
		  "3b76b39e23b073a316047f376bcc4c104108bae1cdf0b9b4fc2f8c7e7e4b9f8b",
		  "59df478d6d0527d5e986bf3c1faba633b896924c29a2dbe7417b07fdf9de9343", NULL);

	request.method = "PUT";
	request.path = "/lake/part-00000.ndjson.gz";
	request.query = part;
	request.n_query = LENGTH(part);
	request.headers = put_headers;
	request.n_headers = LENGTH(put_headers);
	request.payload_sha256 = payload;
	request.region = "us-east-1";
	check("session token, blanks in values", &request,
		  "PUT\n/lake/part-00000.ndjson.gz\npartNumber=10&uploadId=2~abc%2Fdef\n"
		  "content-type:application/x-ndjson; charset=utf-8\n"
		  "host:127.0.0.1:9000\n"
		  "if-none-match:*\n"
		  "x-amz-content-sha256:e346432021b04179518d9614f3560ccd71354a4ee101ddcb893d6959a9d6301c\n"
		  "x-amz-date:20240229T235958Z\n"
		  "x-amz-meta-a:1\n"
		  "x-amz-meta-b:two words\n"
		  "x-amz-security-token:FwoGZXIvYXdzEXAMPLE//token==\n\n"
		  "content-type;host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-meta-a;"
		  "x-amz-meta-b;x-amz-security-token\n"
		  "e346432021b04179518d9614f3560ccd71354a4ee101ddcb893d6959a9d6301c",
		  "AWS4-HMAC-SHA256\n20240229T235958Z\n20240229/us-east-1/s3/aws4_request\n"
		  "2688af59e82cee792573f31cb536ae521a5a8e2e59a97f23d380ca1c78e9cc5e",
		  "aba9c4b42b7f401fced47ebbf2e7fb2fe4e7c394845a88352e298ed4bf4dd0fb", NULL);
}

static void
test_query_order(void)
{
	/* encoded, '=' would sort after '-' and '%': the name decides first */
	const StediPair query[] = {
		{"b", "2"}, {"b", "10"}, {"a ", "1"}, {"a", "z"}, {"a-", "1"}, {"a", ""}, {"\xC3\xA9", "/"},
	};
	StediBytes	out;

	stedi_bytes_init(&out, 0);
	ok(stedi_sigv4_query(&out, query, LENGTH(query)), "a query is formatted");
	is(out.data, "%C3%A9=%2F&a=&a=z&a%20=1&a-=1&b=10&b=2",
	   "a query is sorted by encoded name, then by value");
	stedi_bytes_free(&out);

	ok(stedi_sigv4_query(&out, NULL, 0) && out.length == 0, "no parameters give no query");
	stedi_bytes_free(&out);

	stedi_bytes_init(&out, 5);
	ok(!stedi_sigv4_query(&out, query, LENGTH(query)), "a query over the limit is a failure");
	stedi_bytes_free(&out);
}

static void
test_repeated_header(void)
{
	const StediPair headers[] = {{"X-A", "2"}, {"host", "h"}, {"x-a", "1"}, {"x-", "0"}};
	StediSigv4Request request = {
		.method = "GET", .path = "/", .headers = headers, .n_headers = LENGTH(headers),
		.payload_sha256 = STEDI_SIGV4_UNSIGNED_PAYLOAD, .region = "r", .service = "s3",
		.access_key_id = "k", .secret_access_key = "",
	};
	StediSigv4Result result;
	StediStatus status;

	ok(stedi_sigv4_sign(&request, &result, &status), "a repeated header is signed");
	is(result.canonical_request.data,
	   "GET\n/\n\nhost:h\nx-:0\nx-a:2,1\n\nhost;x-;x-a\nUNSIGNED-PAYLOAD",
	   "its values are in one line, in their order");
	stedi_sigv4_result_free(&result);
	stedi_sigv4_result_free(&result);
	ok(result.authorization.data == NULL, "freeing a result twice is fine");
}

/* What could smuggle a line into a request. */
static void
test_refused(void)
{
	static const struct
	{
		const char *name;
		const char *access_key_id;
		const char *region;
		const char *path;
		const char *header;
		const char *value;
		StediCode	code;
	}			cases[] = {
		{"line break in a header value", "k", "r", "/", "a", "1\r\nb: 2", STEDI_BAD_ARGUMENT},
		{"line break in a header name", "k", "r", "/", "a\nb", "1", STEDI_BAD_ARGUMENT},
		{"empty header name", "k", "r", "/", "", "1", STEDI_BAD_ARGUMENT},
		{"path that is not encoded", "k", "r", "/a b", "a", "1", STEDI_BAD_ARGUMENT},
		{"path without a slash", "k", "r", "a", "a", "1", STEDI_BAD_ARGUMENT},
		{"line break in the region", "k", "r\n", "/", "a", "1", STEDI_BAD_ARGUMENT},
		{"empty region", "k", "", "/", "a", "1", STEDI_BAD_ARGUMENT},
		{"line break in the access key ID", "SECRETISH\n", "r", "/", "a", "1", STEDI_CREDENTIALS},
		{"empty access key ID", "", "r", "/", "a", "1", STEDI_CREDENTIALS},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediPair	header = {cases[i].header, cases[i].value};
		StediSigv4Request request = {
			.method = "GET", .path = cases[i].path, .headers = &header, .n_headers = 1,
			.payload_sha256 = STEDI_SIGV4_EMPTY_SHA256, .region = cases[i].region,
			.service = "s3", .access_key_id = cases[i].access_key_id,
			.secret_access_key = "TOPSECRET",
		};
		StediSigv4Result result;
		StediStatus status;

		ok(!stedi_sigv4_sign(&request, &result, &status) && status.code == cases[i].code &&
		   strstr(status.message, "SECRET") == NULL && result.authorization.data == NULL,
		   cases[i].name);
	}
}

static void
test_date(void)
{
	char		date[STEDI_SIGV4_DATE_SIZE];

	stedi_sigv4_date(0, date);
	is(date, "19700101T000000Z", "the epoch");
	stedi_sigv4_date(OUR_TIME + 2, date);
	is(date, "20240301T000000Z", "the day after a leap day");
	stedi_sigv4_date((time_t) INT64_MAX, date);
	is(date, "99991231T235959Z", "a time beyond the calendar is the last one");
	stedi_sigv4_date(-1, date);
	is(date, "19700101T000000Z", "a time before the epoch is the first one");
}

static void
test_digests(void)
{
	static const unsigned char rfc4231_2[32] = {
		0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
		0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43
	};
	static const unsigned char empty[32] = {
		0xb6, 0x13, 0x67, 0x9a, 0x08, 0x14, 0xd9, 0xec, 0x77, 0x2f, 0x95, 0xd7, 0x78, 0xc3, 0x5f, 0xc5,
		0xff, 0x16, 0x97, 0xc4, 0x93, 0x71, 0x56, 0x53, 0xc6, 0xc7, 0x12, 0x14, 0x42, 0x92, 0xc5, 0xad
	};
	char		hex[STEDI_SHA256_HEX_SIZE];
	StediMd5	md5;
	unsigned char mac[32];

	ok(stedi_sha256_hex("", 0, hex), "SHA-256 of nothing");
	is(hex, STEDI_SIGV4_EMPTY_SHA256, "is the well-known one");
	ok(stedi_sha256_hex("abc", 3, hex), "SHA-256 of abc");
	is(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "is FIPS 180's");
	ok(stedi_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac) &&
	   memcmp(mac, rfc4231_2, 32) == 0, "HMAC-SHA-256: RFC 4231, test case 2");
	ok(stedi_hmac_sha256(NULL, 0, "", 0, mac) && memcmp(mac, empty, 32) == 0,
	   "HMAC-SHA-256 of nothing under no key");
	ok(stedi_md5("", 0, &md5), "MD5 of nothing");
	is(md5.base64, "1B2M2Y8AsgTpgAmY7PhCfg==", "in base64");
	is(md5.hex, "d41d8cd98f00b204e9800998ecf8427e", "in hexadecimal");
}

int
main(void)
{
	test_published_examples();
	test_same_as_botocore();
	test_query_order();
	test_repeated_header();
	test_refused();
	test_date();
	test_digests();
	return tap_done();
}
