/*
 * test_s3_xml.c
 *		Listings, errors and multipart replies of S3.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/s3_xml.h"
#include "core/uri.h"
#include "tap.h"

#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))
#define NS			" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static const char listing[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<ListBucketResult" NS "><Name>lake</Name><Prefix>a/</Prefix><KeyCount>2</KeyCount>"
	"<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
	"<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken>"
	"<Contents><Key>a/x+y%2B%25%C3%A9.json</Key><LastModified>2024-02-29T23:59:58.123Z</LastModified>"
	"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-2&quot;</ETag><Size>18446744073709551615</Size>"
	"<Owner><ID>owner</ID><DisplayName>Key</DisplayName><Key>not this</Key><Size>7</Size></Owner>"
	"<StorageClass>STANDARD</StorageClass></Contents>\n  "
	"<Contents><ETag>plain</ETag><Size>0</Size><Key>a/z</Key></Contents>"
	"<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes><Key>nor this</Key></ListBucketResult>\n";

static bool
parse_list(const char *xml, StediListPage *page, StediStatus *status)
{
	return stedi_s3_parse_list(xml, strlen(xml), page, status);
}

static void
test_list(void)
{
	StediListPage page;
	StediStatus status;

	if (!ok(parse_list(listing, &page, &status), "a listing"))
	{
		printf("# %s %s\n", status.message, status.detail);
		return;
	}
	is_int((long long) page.n_objects, 2, "has its objects");
	ok(page.truncated, "is truncated");
	is(page.next_token, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=", "the token is left as it is");
	is(page.objects[0].key, "a/x y+%\xC3\xA9.json", "a key is decoded once, not the owner's");
	is(page.objects[0].etag, "d41d8cd98f00b204e9800998ecf8427e-2", "the ETag has no quotes");
	ok(page.objects[0].size == UINT64_MAX, "the size, not the owner's");
	is_int(page.objects[0].last_modified, INT64_C(1709251198123000), "the time, in microseconds");
	ok(page.objects[0].version_id == NULL, "there is no version");
	is(page.objects[1].key, "a/z", "elements come in any order");
	is(page.objects[1].etag, "plain", "an ETag without quotes");
	is_int((long long) page.objects[1].size, 0, "an empty object");
	stedi_list_page_free(&page);
	stedi_list_page_free(&page);
}

static void
test_list_variants(void)
{
	StediListPage page;
	StediStatus status;

	ok(parse_list("<ListBucketResult><Contents><Key>a+b%20%C3</Key><Size>1</Size></Contents>"
				  "</ListBucketResult>", &page, &status) &&
	   strcmp(page.objects[0].key, "a+b%20%C3") == 0 && !page.truncated && page.next_token == NULL,
	   "without EncodingType a key is not decoded");
	stedi_list_page_free(&page);

	ok(parse_list("<ListBucketResult><Contents><Key>a%0A</Key><Size>1</Size></Contents>"
				  "<EncodingType>url</EncodingType></ListBucketResult>", &page, &status) &&
	   strcmp(page.objects[0].key, "a\n") == 0, "EncodingType may come after the keys");
	stedi_list_page_free(&page);

	ok(parse_list("<s3:ListBucketResult xmlns:s3=\"urn:x\"><s3:Contents><s3:Key>k</s3:Key>"
				  "<s3:Size>1</s3:Size></s3:Contents></s3:ListBucketResult>", &page, &status) &&
	   page.n_objects == 1, "a namespace prefix is ignored");
	stedi_list_page_free(&page);

	ok(parse_list(" \r\n\t<?xml version=\"1.0\"?><ListBucketResult/>", &page, &status) &&
	   page.n_objects == 0, "an empty listing, after blanks");
	stedi_list_page_free(&page);

	ok(parse_list("<ListBucketResult><Contents><Key>&lt;a&amp;b&#233;<![CDATA[<c>]]></Key>"
				  "<Size>1</Size></Contents></ListBucketResult>", &page, &status) &&
	   strcmp(page.objects[0].key, "<a&b\xC3\xA9<c>") == 0, "references and CDATA in a key");
	stedi_list_page_free(&page);

	ok(parse_list("<ListBucketResult><a><a><a><a><a><a><a><a><a><a><a><a><a><a>Key<Key>k</Key>"
				  "</a></a></a></a></a></a></a></a></a></a></a></a></a></a><Contents><Size>1</Size>"
				  "<Key>k</Key></Contents></ListBucketResult>", &page, &status) &&
	   page.n_objects == 1, "unknown elements are skipped, 16 deep");
	stedi_list_page_free(&page);

	ok(parse_list("<ListBucketResult><Contents><Key>first</Key><Key>second</Key><Size>1</Size>"
				  "<ETag>\"</ETag></Contents></ListBucketResult>", &page, &status) &&
	   strcmp(page.objects[0].key, "second") == 0 && strcmp(page.objects[0].etag, "\"") == 0,
	   "a repeated element is no leak, a lone quote no crash");
	stedi_list_page_free(&page);

	ok(!parse_list("<ListBucketResult><Contents><Key>k</Key><Size>1</Size>"
				   "<ETag>e&#13;&#10;x-evil: 1</ETag></Contents></ListBucketResult>", &page, &status) &&
	   status.code == STEDI_PROTOCOL, "an ETag that would end its header is refused");
}

static void
test_list_many(void)
{
	StediBytes	xml;
	StediListPage page;
	StediStatus status;
	bool		same = true;

	stedi_bytes_init(&xml, 0);
	stedi_bytes_append_text(&xml, "<ListBucketResult>");
	for (int i = 0; i < 1000; i++)
		stedi_bytes_printf(&xml, "<Contents><Key>k%d</Key><Size>%d</Size></Contents>", i, i);
	stedi_bytes_append_text(&xml, "</ListBucketResult>");
	ok(stedi_s3_parse_list(xml.data, xml.length, &page, &status) && page.n_objects == 1000,
	   "a full page");
	for (int i = 0; i < (int) page.n_objects; i++)
	{
		char		key[16];

		snprintf(key, sizeof(key), "k%d", i);
		same = same && strcmp(page.objects[i].key, key) == 0 && page.objects[i].size == (uint64_t) i;
	}
	ok(same, "in its order");
	stedi_list_page_free(&page);
	stedi_bytes_free(&xml);
}

#define LIST(inside)	"<ListBucketResult>" inside "</ListBucketResult>"
#define OBJECT(inside)	LIST("<Contents>" inside "</Contents>")

static void
test_list_refused(void)
{
	static const struct
	{
		const char *name;
		const char *xml;
	}			cases[] = {
		{"nothing", ""},
		{"blanks", "  \n"},
		{"an HTML page", "<html><body>SECRET</body></html>"},
		{"text", "SECRET"},
		{"an error", "<Error><Code>SlowDown</Code></Error>"},
		{"the end missing", "<ListBucketResult><Contents><Key>k</Key>"},
		{"junk after the end", LIST("") "SECRET"},
		{"no key", OBJECT("<Size>1</Size>")},
		{"an empty key", OBJECT("<Key></Key><Size>1</Size>")},
		{"an empty object element", LIST("<Contents/>")},
		{"no size", OBJECT("<Key>k</Key>")},
		{"no size in the second object", LIST("<Contents><Key>k</Key><Size>1</Size></Contents>"
											  "<Contents><Key>l</Key></Contents>")},
		{"an empty size", OBJECT("<Key>k</Key><Size></Size>")},
		{"a negative size", OBJECT("<Key>k</Key><Size>-1</Size>")},
		{"a size that is no number", OBJECT("<Key>k</Key><Size>1e3</Size>")},
		{"a size over 64 bits", OBJECT("<Key>k</Key><Size>18446744073709551616</Size>")},
		{"a size far over 64 bits", OBJECT("<Key>k</Key><Size>184467440737095516150</Size>")},
		{"a malformed time", OBJECT("<Key>k</Key><Size>1</Size><LastModified>today</LastModified>")},
		{"an element inside a key", OBJECT("<Key>k<b/>l</Key><Size>1</Size>")},
		{"a truncated page without a token", LIST("<IsTruncated>true</IsTruncated>")},
		{"a truncated page with an empty token",
		LIST("<IsTruncated>true</IsTruncated><NextContinuationToken/>")},
		{"neither true nor false", LIST("<IsTruncated>maybe</IsTruncated>")},
		{"an unknown encoding", LIST("<EncodingType>base64</EncodingType>")},
		{"a malformed escape", LIST("<EncodingType>url</EncodingType>"
									"<Contents><Key>a%4</Key><Size>1</Size></Contents>")},
		{"an encoded NUL", LIST("<EncodingType>url</EncodingType>"
								"<Contents><Key>a%00</Key><Size>1</Size></Contents>")},
		{"a key that is not UTF-8", LIST("<EncodingType>url</EncodingType>"
										 "<Contents><Key>a%FF</Key><Size>1</Size></Contents>")},
		{"a DTD", "<!DOCTYPE ListBucketResult [<!ENTITY a \"SECRET\">]>" LIST("")},
		{"an external DTD", "<!DOCTYPE ListBucketResult SYSTEM \"file:///etc/passwd\">" LIST("")},
		{"an undefined entity", OBJECT("<Key>&a;</Key><Size>1</Size>")},
		{"elements nested too deeply",
		LIST("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a>")},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediListPage page;
		StediStatus status;

		if (!ok(!parse_list(cases[i].xml, &page, &status), cases[i].name))
		{
			stedi_list_page_free(&page);
			continue;
		}
		ok(status.code == STEDI_PROTOCOL && strstr(status.message, "SECRET") == NULL &&
		   strstr(status.detail, "SECRET") == NULL && page.objects == NULL && page.n_objects == 0,
		   "is a protocol error that echoes nothing and leaves nothing");
	}
}

static void
test_bounds(void)
{
	StediBytes	xml;
	StediListPage page;
	StediStatus status;

	stedi_bytes_init(&xml, 0);
	stedi_bytes_append_text(&xml, "<ListBucketResult><Contents><Size>1</Size><Key>");
	for (int i = 0; i < 65 * 1024; i++)
		stedi_bytes_append_char(&xml, 'k');
	stedi_bytes_append_text(&xml, "</Key></Contents></ListBucketResult>");
	ok(!stedi_s3_parse_list(xml.data, xml.length, &page, &status) && status.code == STEDI_PROTOCOL,
	   "a value over 64 kB is refused");

	stedi_bytes_reset(&xml);
	stedi_bytes_append_text(&xml, "<ListBucketResult><");
	for (int i = 0; i < 5000; i++)
		stedi_bytes_append_char(&xml, 'n');
	stedi_bytes_append_text(&xml, "/><Contents><Size>1</Size><Key>k</Key></Contents></ListBucketResult>");
	ok(stedi_s3_parse_list(xml.data, xml.length, &page, &status) && page.n_objects == 1,
	   "an element with a very long name is skipped");
	stedi_list_page_free(&page);
	stedi_bytes_free(&xml);
}

/* Every document cut short anywhere is refused and leaves nothing behind. */
static void
test_truncation(void)
{
	size_t		whole = strlen(listing) - 1;	/* without the last line end */
	int			accepted = 0;

	for (size_t length = 0; length < whole; length++)
	{
		char	   *copy = malloc(length + 1);
		StediListPage page;
		StediStatus status;

		memcpy(copy, listing, length);
		if (stedi_s3_parse_list(copy, length, &page, &status))
		{
			accepted++;
			stedi_list_page_free(&page);
		}
		free(copy);
	}
	is_int(accepted, 0, "no part of a listing is a listing");
}

static void
test_object(void)
{
	StediObject from = {
		.key = "k", .etag = "e", .version_id = NULL, .size = 3, .last_modified = 4
	};
	StediObject to;

	ok(stedi_object_copy(&to, &from), "an object is copied");
	ok(to.key != from.key && strcmp(to.key, "k") == 0 && to.etag != from.etag &&
	   strcmp(to.etag, "e") == 0 && to.version_id == NULL && to.size == 3 && to.last_modified == 4,
	   "with all that it has");
	stedi_object_free(&to);
	stedi_object_free(&to);
	ok(to.key == NULL && to.size == 0, "and freed, twice");
}

static void
test_error(void)
{
	static const char error_xml[] =
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code>"
		"<Message>The region &apos;us-east-1&apos; is wrong</Message><Region>eu-west-1</Region>"
		"<RequestId>4442587FB7D0A2F9</RequestId><HostId>h</HostId><Details><Code>inner</Code></Details>"
		"</Error>";
	StediS3Error error;
	StediBytes	xml;

	ok(stedi_s3_parse_error(error_xml, strlen(error_xml), &error), "an error");
	is(error.code, "AuthorizationHeaderMalformed", "its code");
	is(error.message, "The region 'us-east-1' is wrong", "its message");
	is(error.region, "eu-west-1", "its region");
	is(error.request_id, "4442587FB7D0A2F9", "its request");

	ok(stedi_s3_parse_error("<Error/>", 8, &error) && error.code[0] == '\0', "an error that says nothing");
	ok(!stedi_s3_parse_error("<html/>", 7, &error), "a page is not an error");
	ok(!stedi_s3_parse_error("", 0, &error), "nothing is not an error");
	ok(!stedi_s3_parse_error("<Error><Code>a</Code>", 21, &error) && error.code[0] == '\0',
	   "half an error is not one");
	ok(!stedi_s3_parse_error(listing, strlen(listing), &error), "a listing is not an error");

	stedi_bytes_init(&xml, 0);
	stedi_bytes_append_text(&xml, "<Error><Code>a");	/* so that the cut is between characters */
	for (int i = 0; i < 500; i++)
		stedi_bytes_append_text(&xml, "\xC3\xA9");
	stedi_bytes_append_text(&xml, "</Code></Error>");
	ok(stedi_s3_parse_error(xml.data, xml.length, &error) &&
	   strlen(error.code) == sizeof(error.code) - 1 &&
	   stedi_utf8_valid(error.code, strlen(error.code)), "a long text is clipped between characters");
	stedi_bytes_reset(&xml);
	stedi_bytes_append_text(&xml, "<Error><Code>");
	for (int i = 0; i < 500; i++)
		stedi_bytes_append_text(&xml, "\xC3\xA9");
	stedi_bytes_append_text(&xml, "</Code></Error>");
	ok(stedi_s3_parse_error(xml.data, xml.length, &error) &&
	   strlen(error.code) == sizeof(error.code) - 2 &&
	   stedi_utf8_valid(error.code, strlen(error.code)), "not inside of one");
	stedi_bytes_free(&xml);
}

static void
test_multipart(void)
{
	static const char initiated[] =
		"<InitiateMultipartUploadResult" NS "><Bucket>b</Bucket><Key>k</Key>"
		"<UploadId>2~abc/def+g</UploadId></InitiateMultipartUploadResult>";
	static const char completed[] =
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\n   <CompleteMultipartUploadResult" NS ">"
		"<Location>http://b/k</Location><ETag>\"3858f62230ac3c915f300c664312c11f-9\"</ETag>"
		"</CompleteMultipartUploadResult>";
	static const char failed[] =
		"   <?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InternalError</Code>"
		"<Message>Try again</Message><RequestId>656c</RequestId></Error>";
	static const char *const refused[] = {
		"", "<html/>", "<Error><Code>c</Code></Error>", "<InitiateMultipartUploadResult/>",
		"<CompleteMultipartUploadResult/>", "<CompleteMultipartUploadResult><ETag>e</ETag>",
		"<InitiateMultipartUploadResult><UploadId>u</UploadId>",
		"<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>",
		"<InitiateMultipartUploadResult><a><UploadId>u</UploadId></a></InitiateMultipartUploadResult>",
	};
	char	   *etags[] = {"aaa", "b<&>b"};
	StediStatus status;
	StediBytes	out;
	char	   *text;

	text = stedi_s3_parse_upload_id(initiated, strlen(initiated), &status);
	is(text, "2~abc/def+g", "the ID of an upload");
	free(text);
	text = stedi_s3_parse_complete(completed, strlen(completed), &status);
	is(text, "3858f62230ac3c915f300c664312c11f-9", "the ETag of a completed upload");
	free(text);
	ok(stedi_s3_parse_complete(failed, strlen(failed), &status) == NULL, "an error in a good reply");
	is_int(status.code, STEDI_PROTOCOL, "is a failure");
	is(status.detail, "S3 error InternalError, request 656c: Try again", "that says what S3 said");
	for (int i = 0; i < LENGTH(refused); i++)
	{
		status.code = STEDI_OK;
		ok(stedi_s3_parse_upload_id(refused[i], strlen(refused[i]), &status) == NULL &&
		   status.code == STEDI_PROTOCOL, "no ID of an upload");
		status.code = STEDI_OK;
		ok(stedi_s3_parse_complete(refused[i], strlen(refused[i]), &status) == NULL &&
		   status.code == STEDI_PROTOCOL, "no completed upload");
	}

	stedi_bytes_init(&out, 0);
	ok(stedi_s3_format_complete(&out, etags, 2), "the list of parts");
	is(out.data, "<CompleteMultipartUpload" NS ">"
	   "<Part><PartNumber>1</PartNumber><ETag>\"aaa\"</ETag></Part>"
	   "<Part><PartNumber>2</PartNumber><ETag>\"b&lt;&amp;&gt;b\"</ETag></Part>"
	   "</CompleteMultipartUpload>", "in order, escaped");
	stedi_bytes_free(&out);
	stedi_bytes_init(&out, 100);
	ok(!stedi_s3_format_complete(&out, etags, 2), "which does not fit");
	stedi_bytes_free(&out);
}

static void
test_uploads(void)
{
	static const char xml[] =
		"<ListMultipartUploadsResult" NS "><Bucket>b</Bucket><KeyMarker/><UploadIdMarker/>"
		"<NextKeyMarker>a/b+c%2F</NextKeyMarker><NextUploadIdMarker>YW55+%2F</NextUploadIdMarker>"
		"<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
		"<Upload><Key>a%20b</Key><UploadId>id+1</UploadId><Initiator><ID>x</ID></Initiator>"
		"<Owner><Key>o</Key></Owner><Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>"
		"<Upload><Key>c</Key><UploadId>id2</UploadId></Upload></ListMultipartUploadsResult>";
	static const char *const refused[] = {
		"<ListMultipartUploadsResult><Upload><Key>k</Key></Upload></ListMultipartUploadsResult>",
		"<ListMultipartUploadsResult><Upload><UploadId>k</UploadId></Upload></ListMultipartUploadsResult>",
		"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>",
		("<ListMultipartUploadsResult><EncodingType>url</EncodingType><NextKeyMarker>%</NextKeyMarker>"
		 "</ListMultipartUploadsResult>"),
		"<ListBucketResult/>",
	};
	StediUploadPage page;
	StediStatus status;

	if (ok(stedi_s3_parse_uploads(xml, strlen(xml), &page, &status), "a listing of uploads"))
	{
		is_int((long long) page.n_uploads, 2, "has its uploads");
		ok(page.truncated, "is truncated");
		is(page.next_key_marker, "a/b c/", "the key marker is decoded");
		is(page.next_upload_id_marker, "YW55+%2F", "the upload marker is not");
		is(page.uploads[0].key, "a b", "a key is decoded");
		is(page.uploads[0].upload_id, "id+1", "an ID is not");
		is_int(page.uploads[0].initiated, INT64_C(1289422113000000), "the time it began");
		is(page.uploads[1].upload_id, "id2", "the second upload");
		stedi_upload_page_free(&page);
		stedi_upload_page_free(&page);
	}
	for (int i = 0; i < LENGTH(refused); i++)
		ok(!stedi_s3_parse_uploads(refused[i], strlen(refused[i]), &page, &status) &&
		   status.code == STEDI_PROTOCOL && page.uploads == NULL, "a listing of uploads that is refused");
}

static void
test_times(void)
{
	static const struct
	{
		const char *text;
		int64_t		microseconds;
	}			valid[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"1970-01-01T00:00:00.000001Z", 1},
		{"1969-12-31T23:59:59.999999Z", -1},
		{"2013-05-24T00:00:00.000Z", INT64_C(1369353600000000)},
		{"2000-02-29T12:34:56.5Z", INT64_C(951827696500000)},
		{"2024-12-31T23:59:59.1234567Z", INT64_C(1735689599123456)},
		{"0001-01-01T00:00:00Z", INT64_C(-62135596800000000)},
		{"9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999)},
	};
	static const char *const invalid[] = {
		"", "2013", "2013-05-24", "2013-05-24T00:00:00", "2013-05-24 00:00:00Z",
		"2013-05-24T00:00:00.Z", "2013-05-24T00:00:00ZZ", "2013-05-24T00:00:00+00:00",
		"2013-13-01T00:00:00Z", "2013-00-01T00:00:00Z", "2013-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
		"2013-04-31T00:00:00Z", "2013-01-00T00:00:00Z", "2013-01-32T00:00:00Z", "0000-01-01T00:00:00Z",
		"2013-05-24T24:00:00Z", "2013-05-24T00:60:00Z", "2013-05-24T00:00:60Z", "+013-05-24T00:00:00Z",
	};
	int			wrong = 0;

	for (int i = 0; i < LENGTH(valid); i++)
	{
		int64_t		microseconds = -42;

		ok(stedi_parse_iso8601(valid[i].text, &microseconds), valid[i].text);
		is_int(microseconds, valid[i].microseconds, "is that many microseconds");
	}
	for (int i = 0; i < LENGTH(invalid); i++)
	{
		int64_t		microseconds;

		ok(!stedi_parse_iso8601(invalid[i], &microseconds), invalid[i]);
	}

	/* every day of 400 years follows the day before it */
	for (int year = 1970, expected = 0; year < 2370; year++)
	{
		for (int month = 1; month <= 12; month++)
		{
			for (int day = 1; day <= 31; day++)
			{
				char		text[64];
				int64_t		microseconds;

				snprintf(text, sizeof(text), "%04d-%02d-%02dT00:00:00Z", year, month, day);
				if (stedi_parse_iso8601(text, &microseconds))
					wrong += microseconds != INT64_C(86400000000) * expected++;
			}
		}
	}
	is_int(wrong, 0, "the calendar has no gaps");
}

#define STS(action, inside) \
	"<" action "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" action "Result>" \
	"<SubjectFromWebIdentityToken>AccessKeyId</SubjectFromWebIdentityToken><AssumedRoleUser><Arn>arn</Arn>" \
	"<AccessKeyId>not this</AccessKeyId></AssumedRoleUser><Credentials>" inside "</Credentials></" action \
	"Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></" action "Response>"
#define STS_KEYS "<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>SECRET</SecretAccessKey>" \
	"<SessionToken>T/+=</SessionToken>"
#define STS_EXPIRY "<Expiration>2024-01-02T03:04:05Z</Expiration>"

static void
test_sts(void)
{
	static const char good[] = STS("AssumeRole", STS_KEYS STS_EXPIRY);
	static const char web[] = STS("AssumeRoleWithWebIdentity", STS_EXPIRY STS_KEYS);
	static const char *const refused[] = {
		STS("AssumeRole", STS_KEYS), STS("AssumeRole", STS_EXPIRY),
		STS("AssumeRole", STS_KEYS "<Expiration>SECRET</Expiration>"), web, "", "SECRET",
		"<AssumeRoleResponse><Credentials>" STS_KEYS STS_EXPIRY "</Credentials></AssumeRoleResponse>",
	};
	static const char denied[] = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
		"<Message>m</Message></Error><RequestId>r</RequestId></ErrorResponse>";
	StediStsCredentials keys;
	StediStatus status;
	char		code[64];

	if (ok(stedi_sts_parse_credentials(good, strlen(good), "AssumeRole", &keys, &status), "keys of a role"))
	{
		is(keys.access_key_id, "ASIA", "their ID, not the user's");
		is(keys.secret_access_key, "SECRET", "their secret");
		is(keys.session_token, "T/+=", "their token");
		is_int(keys.expires_at, INT64_C(1704164645000000), "their end");
		stedi_sts_credentials_free(&keys);
		stedi_sts_credentials_free(&keys);
	}
	if (ok(stedi_sts_parse_credentials(web, strlen(web), "AssumeRoleWithWebIdentity", &keys, &status),
		   "of a web identity"))
		stedi_sts_credentials_free(&keys);
	for (int i = 0; i < LENGTH(refused); i++)
		ok(!stedi_sts_parse_credentials(refused[i], strlen(refused[i]), "AssumeRole", &keys, &status) &&
		   status.code == STEDI_PROTOCOL && strstr(status.message, "SECRET") == NULL &&
		   strstr(status.detail, "SECRET") == NULL && keys.secret_access_key == NULL,
		   "a reply without whole keys leaves and echoes nothing");
	stedi_sts_parse_error(denied, strlen(denied), code);
	is(code, "AccessDenied", "the code of an error");
	stedi_sts_parse_error(good, strlen(good), code);
	is(code, "", "what is no error has none");
}

int
main(void)
{
	test_list();
	test_list_variants();
	test_list_many();
	test_list_refused();
	test_bounds();
	test_truncation();
	test_object();
	test_error();
	test_multipart();
	test_uploads();
	test_times();
	test_sts();
	return tap_done();
}
