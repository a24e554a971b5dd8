/*
 * credentials_sts.c
 *		Roles: AWS Security Token Service.
 *
 * AssumeRole is signed with the credentials one has, AssumeRoleWithWebIdentity
 * carries a token instead.  Source: AWS Security Token Service API Reference.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/s3_xml.h"
#include "store/credentials_internal.h"

#define VERSION				"2011-06-15"
#define DEFAULT_REGION		"us-east-1"
#define DEFAULT_SESSION		"stedi" /* shows in CloudTrail */
#define TIMEOUT_MS			(10 * 1000)
#define ATTEMPTS			3
#define FORM				"application/x-www-form-urlencoded; charset=utf-8"

static Finding send_form(CredentialSearch *search, const char *place, const char *action,
						 const char *form, const char *region,
						 const StediCredentials *source, StediCredentials *found);
static bool format_url(CredentialSearch *search, const char *region, StediBytes *url,
					   StediBytes *authority);
static bool sign(CredentialRequest *request, const char *host, const char *region,
				 const StediCredentials *source, char date[STEDI_SIGV4_DATE_SIZE],
				 StediBytes *authorization);
static Finding take_reply(CredentialSearch *search, const char *place, const char *action,
						  const CredentialRequest *request, StediCredentials *found);

Finding
stedi_credentials_assume(CredentialSearch *search, const char *place, const RoleToAssume *role,
						 const StediCredentials *source, StediCredentials *found)
{
	const char *action = role->token_file != NULL ? "AssumeRoleWithWebIdentity" : "AssumeRole";
	const char *region = role->region;
	StediPair	parameters[8] = {{"Action", action}, {"Version", VERSION},
	{"RoleArn", role->role_arn},
	{"RoleSessionName", role->session_name != NULL ? role->session_name : DEFAULT_SESSION}};
	int			n_parameters = 4;
	StediBytes	token;
	StediBytes	form;
	Finding		finding = FINDING_FOUND;

	if (region == NULL)
		region = search->settings->region;
	if (region == NULL)
		region = search->region;
	if (region == NULL)
		region = DEFAULT_REGION;
	if (role->duration_seconds != NULL)
		parameters[n_parameters++] = (StediPair) {"DurationSeconds", role->duration_seconds};
	if (role->external_id != NULL)
		parameters[n_parameters++] = (StediPair) {"ExternalId", role->external_id};

	stedi_bytes_init(&token, 0);
	stedi_bytes_init(&form, 0);
	/* read each time: Kubernetes writes a new one every now and then */
	if (role->token_file != NULL)
	{
		if (!stedi_read_small_file(role->token_file, CREDENTIAL_REPLY_LIMIT, &token))
			return stedi_search_fail(search, place, "could not read \"%s\": %s", role->token_file,
									 strerror(errno));
		while (token.length > 0 && isspace((unsigned char) token.data[token.length - 1]))
			token.data[--token.length] = '\0';
		if (token.length == 0)
			finding = stedi_search_fail(search, place, "\"%s\" is empty", role->token_file);
		parameters[n_parameters++] = (StediPair) {"WebIdentityToken", token.data};
	}
	if (finding == FINDING_FOUND)
	{
		if (!stedi_sigv4_query(&form, parameters, n_parameters))
			finding = stedi_search_no_memory(search);
		else
			finding = send_form(search, place, action, form.data, region, source, found);
	}
	stedi_bytes_wipe(&token);
	stedi_bytes_wipe(&form);

	if (finding == FINDING_FOUND && !stedi_copy_text(&found->role_arn, role->role_arn))
	{
		stedi_credentials_free(found);
		return stedi_search_no_memory(search);
	}
	if (finding != FINDING_FOUND)
		return finding;
	return stedi_search_found(search, place, found, "role %s, with %s", role->role_arn,
							  source != NULL ? source->source : "a web identity token");
}

static Finding
send_form(CredentialSearch *search, const char *place, const char *action, const char *form,
		  const char *region, const StediCredentials *source, StediCredentials *found)
{
	CredentialRequest request = {
		.method = "POST", .body = form, .timeout_ms = TIMEOUT_MS, .attempts = ATTEMPTS,
	};
	StediBytes	url;
	StediBytes	authority;
	StediBytes	authorization;
	char		date[STEDI_SIGV4_DATE_SIZE];
	Finding		finding;

	stedi_bytes_init(&url, 0);
	stedi_bytes_init(&authority, 0);
	stedi_bytes_init(&authorization, 0);
	if (!format_url(search, region, &url, &authority))
		finding = stedi_search_fail(search, place, "the endpoint of STS or the region is malformed");
	else
	{
		request.url = url.data;
		request.headers[request.n_headers++] = (StediPair) {"content-type", FORM};
		if (source != NULL &&
			!sign(&request, authority.data, region, source, date, &authorization))
			finding = stedi_search_no_memory(search);
		else
		{
			request.headers[request.n_headers++] = (StediPair) {"expect", ""};
			if (stedi_credentials_request(search, &request))
				finding = take_reply(search, place, action, &request, found);
			else
				finding = stedi_search_fail(search, place, "%s: %s", url.data, request.why);
			stedi_bytes_wipe(&request.reply);
		}
	}
	stedi_bytes_free(&url);
	stedi_bytes_free(&authority);
	stedi_bytes_free(&authorization);
	return finding;
}

/* "scheme://authority/", and the authority alone, which is the Host header. */
static bool
format_url(CredentialSearch *search, const char *region, StediBytes *url, StediBytes *authority)
{
	const char *endpoint = search->settings->sts_endpoint;
	const char *host;
	size_t		length;

	if (endpoint == NULL)
		endpoint = stedi_environment("AWS_ENDPOINT_URL_STS");
	if (endpoint == NULL)
		endpoint = stedi_environment("AWS_ENDPOINT_URL");
	if (endpoint == NULL)
	{
		if (region[strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
			return false;
		stedi_bytes_printf(authority, "sts.%s.amazonaws.com%s", region,
						   strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
		return stedi_bytes_printf(url, "https://%s/", authority->data ? authority->data : "");
	}
	if (strncasecmp(endpoint, "https://", 8) == 0)
		host = endpoint + 8;
	else if (strncasecmp(endpoint, "http://", 7) == 0)
		host = endpoint + 7;
	else
		return false;
	length = strcspn(host, "/");
	if (length == 0 || strspn(host + length, "/") != strlen(host + length) ||
		strcspn(host, "?#@ \t\r\n") < length)
		return false;
	return stedi_bytes_append(authority, host, length) &&
		stedi_bytes_printf(url, "%.*s%s/", (int) (host - endpoint), endpoint, authority->data);
}

static bool
sign(CredentialRequest *request, const char *host, const char *region,
	 const StediCredentials *source, char date[STEDI_SIGV4_DATE_SIZE], StediBytes *authorization)
{
	char		digest[STEDI_SHA256_HEX_SIZE];
	time_t		now = time(NULL);
	StediStatus ignored;
	StediSigv4Result result;
	StediSigv4Request sigv4 = {
		.method = request->method, .path = "/", .payload_sha256 = digest,
		.region = region, .service = "sts", .when = now,
		.access_key_id = source->access_key_id,
		.secret_access_key = source->secret_access_key,
	};

	stedi_sigv4_date(now, date);
	request->headers[request->n_headers++] = (StediPair) {"host", host};
	request->headers[request->n_headers++] = (StediPair) {"x-amz-date", date};
	if (source->session_token != NULL)
		request->headers[request->n_headers++] = (StediPair) {"x-amz-security-token", source->session_token};
	sigv4.headers = request->headers;
	sigv4.n_headers = request->n_headers;
	if (!stedi_sha256_hex(request->body, strlen(request->body), digest) ||
		!stedi_sigv4_sign(&sigv4, &result, &ignored))
		return false;
	*authorization = result.authorization;
	stedi_bytes_init(&result.authorization, 0);
	stedi_sigv4_result_free(&result);
	request->headers[request->n_headers++] = (StediPair) {"authorization", authorization->data};
	return true;
}

static Finding
take_reply(CredentialSearch *search, const char *place, const char *action,
		   const CredentialRequest *request, StediCredentials *found)
{
	StediStsCredentials keys;
	StediStatus status;
	const char *text = request->reply.data != NULL ? request->reply.data : "";
	char		code[64];

	if (request->http_status != 200)
	{
		stedi_sts_parse_error(text, request->reply.length, code);
		/* no more of a reply than a word */
		code[strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.")] = '\0';
		return stedi_search_fail(search, place, "%s at %s: HTTP status %ld%s%s", action, request->url,
								 request->http_status, code[0] != '\0' ? ", " : "", code);
	}
	if (!stedi_sts_parse_credentials(text, request->reply.length, action, &keys, &status))
	{
		if (status.code == STEDI_NO_MEMORY)
			return stedi_search_no_memory(search);
		return stedi_search_fail(search, place, "%s at %s: the reply has no whole credentials", action,
								 request->url);
	}
	memset(found, 0, sizeof(*found));
	found->access_key_id = keys.access_key_id;
	found->secret_access_key = keys.secret_access_key;
	found->session_token = keys.session_token;
	found->expires_at = keys.expires_at / 1000000;
	return FINDING_FOUND;
}
