/*
 * credentials_http.c
 *		Credentials over HTTP: containers, EC2 instances, and the requests of all.
 *
 * Sources: Amazon ECS Developer Guide, "Task IAM role"; Amazon EKS User Guide,
 * "Pod Identity"; Amazon EC2 User Guide, "Use the Instance Metadata Service".
 */
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <json-c/json.h>

#include "core/s3_xml.h"
#include "core/uri.h"
#include "store/credentials_internal.h"

/* As botocore: who does not answer at once is not there. */
#define INSTANCE_TIMEOUT_MS		1000
#define CONTAINER_TIMEOUT_MS	2000
#define CONTAINER_ATTEMPTS		3
#define RETRY_DELAY_MS			100 /* doubled each time */

#define CONTAINER_HOST			"http://169.254.170.2"
#define INSTANCE_ENDPOINT		"http://169.254.169.254"
#define INSTANCE_ENDPOINT_IPV6	"http://[fd00:ec2::254]"
#define INSTANCE_ROLES			"/latest/meta-data/iam/security-credentials/"
#define INSTANCE_TOKEN_SECONDS	"21600"

typedef struct Exchange
{
	StediHttpTransfer transfer; /* first member */
	const CredentialRequest *request;
	bool		done;
} Exchange;

static bool prepare(StediHttpTransfer *transfer);
static void finished(StediHttpTransfer *transfer);
static StediHttp *engine(CredentialSearch *search, bool is_metadata);
static bool is_worth_another(const StediHttpTransfer *transfer);
static const char *words_for(const StediHttpTransfer *transfer);
static bool is_container_host(const char *host);
static Finding read_token(CredentialSearch *search, const char *place, char **token);
static bool instance_request(CredentialSearch *search, CredentialRequest *request,
							 const char *method, const char *endpoint, const char *path,
							 StediPair header);
static Finding parse_reply(CredentialSearch *search, const char *place,
						   const CredentialRequest *request, StediCredentials *found);
static char *take_string(struct json_object *object, const char *name);
static bool parse_expiration(const char *text, int64_t *seconds);

/*
 * Requests
 */

bool
stedi_credentials_request(CredentialSearch *search, CredentialRequest *request)
{
	StediHttp  *http = engine(search, request->is_metadata);
	Exchange	exchange = {.request = request};
	StediHttpTransfer *transfer = &exchange.transfer;
	bool		cancelled = false;

	request->http_status = 0;
	request->why[0] = '\0';
	stedi_bytes_init(&request->reply, 0);
	if (http == NULL)
		return false;
	transfer->reply_limit = CREDENTIAL_REPLY_LIMIT;
	transfer->prepare = prepare;
	transfer->finished = finished;
	for (int i = 0; i < request->attempts && !cancelled; i++)
	{
		long		delay = i > 0 ? RETRY_DELAY_MS << (i - 1) : 0;
		StediDeadline deadline;
		StediWaiter waiter = stedi_deadline_start(&deadline, search->waiter,
												  delay + request->timeout_ms);

		exchange.done = false;
		stedi_http_start(http, transfer, delay);
		while (!exchange.done && stedi_http_step(http, &waiter, search->status))
			;
		if (!exchange.done)
		{
			stedi_http_stop(transfer);
			transfer->error = STEDI_HTTP_TIMED_OUT;
			snprintf(transfer->error_text, sizeof(transfer->error_text),
					 "no reply within %ld ms", request->timeout_ms);
			cancelled = !deadline.has_passed;
			if (!cancelled)
				stedi_status_clear(search->status);
		}
		if (!is_worth_another(transfer))
			break;
	}
	request->http_status = transfer->status;
	request->reply = transfer->body;
	if (!cancelled && transfer->error == STEDI_HTTP_OK)
		return true;
	snprintf(request->why, sizeof(request->why), "%s", words_for(transfer));
	return false;
}

static bool
prepare(StediHttpTransfer *transfer)
{
	const CredentialRequest *request = ((Exchange *) transfer)->request;

	transfer->method = request->method;
	transfer->url = request->url;
	transfer->n_headers = request->n_headers;
	memcpy(transfer->headers, request->headers, sizeof(transfer->headers));
	transfer->request_body = request->body;
	transfer->request_length = request->body != NULL ? strlen(request->body) : 0;
	return true;
}

static void
finished(StediHttpTransfer *transfer)
{
	((Exchange *) transfer)->done = true;
}

/* NULL: search->status says why. */
static StediHttp *
engine(CredentialSearch *search, bool is_metadata)
{
	const StediCredentialSettings *settings = search->settings;
	StediHttp **http = is_metadata ? &search->metadata_http : &search->sts_http;
	StediHttpConfig config = {
		.user_agent = settings->user_agent,
		.proxy = is_metadata ? NULL : settings->proxy,
		.ca_file = is_metadata || settings->sts_endpoint == NULL ? NULL : settings->ca_file,
		.max_connections = 1,
		.max_cached = 1,
	};

	if (*http == NULL)
		*http = stedi_http_open(&config, search->status);
	return *http;
}

static bool
is_worth_another(const StediHttpTransfer *transfer)
{
	switch (transfer->error)
	{
		case STEDI_HTTP_OK:
			return transfer->status == 429 || transfer->status >= 500;
		case STEDI_HTTP_UNRESOLVED:
		case STEDI_HTTP_UNREACHABLE:
		case STEDI_HTTP_BROKEN:
		case STEDI_HTTP_TIMED_OUT:
			return true;
		default:
			return false;
	}
}

static const char *
words_for(const StediHttpTransfer *transfer)
{
	switch (transfer->error)
	{
		case STEDI_HTTP_TOO_LARGE:
			return "the reply is too large";
		case STEDI_HTTP_INVALID:
			return "the reply makes no sense";
		default:
			return transfer->error_text[0] != '\0' ? transfer->error_text : "no reply";
	}
}

/*
 * Containers: ECS, EKS Pod Identity
 */

Finding
stedi_credentials_container(CredentialSearch *search, StediCredentials *found)
{
	static const char place[] = "container";
	const char *why;
	char	   *url = stedi_container_url(&why);
	char	   *token = NULL;
	CredentialRequest request = {
		.is_metadata = true, .method = "GET", .url = url,
		.timeout_ms = CONTAINER_TIMEOUT_MS, .attempts = CONTAINER_ATTEMPTS,
		.headers = {{"accept", "application/json"}}, .n_headers = 1,
	};
	Finding		finding;

	if (url == NULL)
		return why == NULL ? stedi_search_none(search, place,
											   "no AWS_CONTAINER_CREDENTIALS_... variable is set") :
			stedi_search_fail(search, place, "%s", why);
	finding = read_token(search, place, &token);
	if (finding == FINDING_FOUND)
	{
		if (token != NULL)
			request.headers[request.n_headers++] = (StediPair) {"authorization", token};
		if (!stedi_credentials_request(search, &request))
			finding = stedi_search_fail(search, place, "%s", request.why);
		else
			finding = parse_reply(search, place, &request, found);
		stedi_bytes_wipe(&request.reply);
	}
	stedi_free_secret(token);
	free(url);
	return finding == FINDING_FOUND ?
		stedi_search_found(search, place, found, "container") : finding;
}

char *
stedi_container_url(const char **why)
{
	const char *relative = stedi_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = stedi_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	CURLU	   *parts;
	char	   *scheme = NULL;
	char	   *host = NULL;
	char	   *user = NULL;
	char	   *url = NULL;

	*why = NULL;
	if (relative != NULL)
	{
		/* anything else in front could make another host of it */
		if (relative[0] != '/')
			*why = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with a slash";
		else if ((url = malloc(strlen(CONTAINER_HOST) + strlen(relative) + 1)) == NULL)
			*why = "out of memory";
		else
		{
			strcpy(url, CONTAINER_HOST);
			strcat(url, relative);
		}
		return url;
	}
	if (full == NULL)
		return NULL;

	/* taken apart by who will connect, so that both mean the same host */
	parts = curl_url();
	if (parts == NULL || curl_url_set(parts, CURLUPART_URL, full, 0) != CURLUE_OK ||
		curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
		curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		*why = "AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL";
	else if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK)
		*why = "AWS_CONTAINER_CREDENTIALS_FULL_URI has a user name";
	else if (strcmp(scheme, "https") != 0 &&
			 (strcmp(scheme, "http") != 0 || !is_container_host(host)))
		*why = "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor an address of this machine, ECS or EKS";
	else if ((url = strdup(full)) == NULL)
		*why = "out of memory";
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_url_cleanup(parts);
	return url;
}

static bool
is_container_host(const char *host)
{
	static const unsigned char loopback[16] = {[15] = 1};
	char		plain[64];
	struct in6_addr six,
				eks;
	struct in_addr four;
	size_t		length = strlen(host);

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &four) == 1)
		return (ntohl(four.s_addr) >> 24) == 127 ||
			strcmp(host, "169.254.170.2") == 0 || strcmp(host, "169.254.170.23") == 0;
	if (length < 3 || length >= sizeof(plain) || host[0] != '[')
		return false;
	memcpy(plain, host + 1, length - 2);
	plain[length - 2] = '\0';
	inet_pton(AF_INET6, "fd00:ec2::23", &eks);
	return inet_pton(AF_INET6, plain, &six) == 1 &&
		(memcmp(&six, loopback, sizeof(six)) == 0 || memcmp(&six, &eks, sizeof(six)) == 0);
}

/* FINDING_FOUND with *token, which is NULL when none is asked for.  The file is
 * read each time: EKS writes a new one every now and then. */
static Finding
read_token(CredentialSearch *search, const char *place, char **token)
{
	const char *path = stedi_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *value = stedi_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	StediBytes	text;

	if (path != NULL)
	{
		if (!stedi_read_small_file(path, CREDENTIAL_REPLY_LIMIT, &text))
			return stedi_search_fail(search, place, "could not read \"%s\": %s", path, strerror(errno));
		while (text.length > 0 && strchr("\r\n", text.data[text.length - 1]) != NULL)
			text.data[--text.length] = '\0';
		*token = stedi_bytes_steal(&text);
	}
	else if (value != NULL)
		*token = strdup(value);
	else
		return FINDING_FOUND;
	if (*token == NULL)
		return stedi_search_no_memory(search);
	for (const char *p = *token; *p; p++)
	{
		if (*p < ' ' || *p >= 0x7F)
			return stedi_search_fail(search, place, "the authorization token is not printable ASCII");
	}
	return FINDING_FOUND;
}

/*
 * EC2 instances: IMDSv2.  Version 1 is never asked: it answers requests that
 * somebody else made a program send.
 */

Finding
stedi_credentials_instance(CredentialSearch *search, StediCredentials *found)
{
	static const char place[] = "instance metadata";
	const char *disabled = stedi_environment("AWS_EC2_METADATA_DISABLED");
	const char *endpoint = stedi_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode = stedi_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	CredentialRequest session = {0};
	CredentialRequest role = {0};
	CredentialRequest keys = {0};
	StediPair	token = {"x-aws-ec2-metadata-token", NULL};
	StediBytes	path;
	Finding		finding;

	if (disabled != NULL && strcasecmp(disabled, "true") == 0)
		return stedi_search_none(search, place, "AWS_EC2_METADATA_DISABLED is set");
	if (endpoint == NULL)
		endpoint = mode != NULL && strcasecmp(mode, "ipv6") == 0 ? INSTANCE_ENDPOINT_IPV6 :
			INSTANCE_ENDPOINT;
	stedi_bytes_init(&path, 2048);

	if (!instance_request(search, &session, "PUT", endpoint, "/latest/api/token",
						  (StediPair) {"x-aws-ec2-metadata-token-ttl-seconds", INSTANCE_TOKEN_SECONDS}))
		finding = stedi_search_none(search, place, "%s", session.why);
	else if (session.http_status != 200 || session.reply.length == 0 ||
			 strspn(session.reply.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-.") !=
			 session.reply.length)
		finding = stedi_search_none(search, place, "HTTP status %ld instead of a token",
									session.http_status);
	else
	{
		token.value = session.reply.data;
		if (!instance_request(search, &role, "GET", endpoint, INSTANCE_ROLES, token))
			finding = stedi_search_fail(search, place, "%s", role.why);
		else if (role.http_status == 404 || (role.http_status == 200 && role.reply.length == 0))
			finding = stedi_search_none(search, place, "the instance has no role");
		else if (role.http_status != 200)
			finding = stedi_search_fail(search, place, "HTTP status %ld instead of a role",
										role.http_status);
		else
		{
			role.reply.data[strcspn(role.reply.data, "\r\n")] = '\0';
			stedi_bytes_append_text(&path, INSTANCE_ROLES);
			if (!stedi_percent_encode(&path, role.reply.data, strlen(role.reply.data), false))
				finding = stedi_search_fail(search, place, "the role's name is too long");
			else if (!instance_request(search, &keys, "GET", endpoint, path.data, token))
				finding = stedi_search_fail(search, place, "%s", keys.why);
			else
				finding = parse_reply(search, place, &keys, found);
		}
	}
	stedi_bytes_wipe(&session.reply);
	stedi_bytes_free(&role.reply);
	stedi_bytes_wipe(&keys.reply);
	stedi_bytes_free(&path);
	if (search->status->code != STEDI_OK && finding == FINDING_NONE)
		finding = FINDING_FAILED;	/* cancelled */
	return finding == FINDING_FOUND ?
		stedi_search_found(search, place, found, "instance metadata") : finding;
}

static bool
instance_request(CredentialSearch *search, CredentialRequest *request, const char *method,
				 const char *endpoint, const char *path, StediPair header)
{
	StediBytes	url;
	bool		done;
	size_t		length = strlen(endpoint);

	while (length > 0 && endpoint[length - 1] == '/')
		length--;
	stedi_bytes_init(&url, 0);
	if (!stedi_bytes_printf(&url, "%.*s%s", (int) length, endpoint, path))
	{
		stedi_bytes_free(&url);
		return stedi_no_memory(search->status);
	}
	*request = (CredentialRequest) {
		.is_metadata = true, .method = method, .url = url.data,
		.headers = {header}, .n_headers = 1,
		.timeout_ms = INSTANCE_TIMEOUT_MS, .attempts = 1,
	};
	done = stedi_credentials_request(search, request);
	request->url = NULL;
	stedi_bytes_free(&url);
	return done;
}

static Finding
parse_reply(CredentialSearch *search, const char *place, const CredentialRequest *request,
			StediCredentials *found)
{
	const char *why;

	if (request->http_status != 200)
		return stedi_search_fail(search, place, "HTTP status %ld", request->http_status);
	why = stedi_credentials_parse(request->reply.data ? request->reply.data : "",
								  request->reply.length, NULL, found);
	return why == NULL ? FINDING_FOUND : stedi_search_fail(search, place, "%s", why);
}

/*
 * Credentials as JSON
 */

const char *
stedi_credentials_parse(const char *text, size_t length, int *version, StediCredentials *found)
{
	struct json_tokener *tokener = json_tokener_new_ex(8);
	struct json_object *object = NULL;
	struct json_object *number;
	const char *why = NULL;
	char	   *expiration = NULL;

	memset(found, 0, sizeof(*found));
	if (version != NULL)
		*version = 0;
	if (tokener == NULL || length > INT_MAX)
	{
		if (tokener != NULL)
			json_tokener_free(tokener);
		return "out of memory";
	}
	object = json_tokener_parse_ex(tokener, text, (int) length);
	if (!json_object_is_type(object, json_type_object))
		why = "the reply is no JSON object";
	else
	{
		found->access_key_id = take_string(object, "AccessKeyId");
		found->secret_access_key = take_string(object, "SecretAccessKey");
		found->session_token = take_string(object, "Token");
		if (found->session_token == NULL)
			found->session_token = take_string(object, "SessionToken");
		expiration = take_string(object, "Expiration");
		if (version != NULL && json_object_object_get_ex(object, "Version", &number) &&
			json_object_is_type(number, json_type_int))
			*version = json_object_get_int(number);
		if (found->access_key_id == NULL || found->secret_access_key == NULL)
			why = "the reply has no AccessKeyId or no SecretAccessKey";
		else if (expiration != NULL && !parse_expiration(expiration, &found->expires_at))
			why = "the reply has a malformed Expiration";
	}
	free(expiration);
	json_object_put(object);
	json_tokener_free(tokener);
	if (why != NULL)
		stedi_credentials_free(found);
	return why;
}

/* A copy of a string member that is not empty, or NULL; the original is wiped. */
static char *
take_string(struct json_object *object, const char *name)
{
	struct json_object *value;
	char	   *text;
	char	   *copy;

	if (!json_object_object_get_ex(object, name, &value) ||
		!json_object_is_type(value, json_type_string))
		return NULL;
	text = (char *) json_object_get_string(value);
	copy = text[0] != '\0' ? strdup(text) : NULL;
	OPENSSL_cleanse(text, (size_t) json_object_get_string_len(value));
	return copy;
}

/* ISO 8601, in UTC or with an offset: "2013-05-24T00:00:00Z", "...+00:00" */
static bool
parse_expiration(const char *text, int64_t *seconds)
{
	char		utc[48];
	size_t		length = strlen(text);
	int			hours = 0;
	int			minutes = 0;
	int64_t		microseconds;

	if (length > 6 && length < sizeof(utc) && (text[length - 6] == '+' || text[length - 6] == '-'))
	{
		if (sscanf(text + length - 5, "%2d:%2d", &hours, &minutes) != 2)
			return false;
		if (text[length - 6] == '-')
		{
			hours = -hours;
			minutes = -minutes;
		}
		snprintf(utc, sizeof(utc), "%.*sZ", (int) length - 6, text);
		text = utc;
	}
	if (!stedi_parse_iso8601(text, &microseconds))
		return false;
	*seconds = microseconds / 1000000 - (hours * 3600 + minutes * 60);
	return true;
}
