/*
 * test_credentials.c
 *		The chain: where credentials are looked for, in which order, and what is
 *		said when there are none.
 */
#include <fcntl.h>
#include <signal.h>

#include "credentials_fixture.h"
#include "store/credentials_internal.h"

static const StediCredentialSettings chain = {.user_agent = "test"};

static bool
nobody(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "404 Not Found", "", SECRET);
}

static bool
hangs(int fd, const Request *request)
{
	(void) fd;
	(void) request;
	return hang();
}

static bool
huge(int fd, const Request *request)
{
	static char text[70000];

	(void) request;
	memset(text, 'x', sizeof(text) - 1);
	return reply(fd, "200 OK", "", text);
}

/*
 * Environment and profiles
 */
static void
test_environment(void)
{
	clear_environment();
	start_script(nobody);
	chain_fails(&chain, "Tried environment: AWS_ACCESS_KEY_ID is not set; profile \"default\": it is neither in "
				"~/.aws/config nor in ~/.aws/credentials; web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set; "
				"container: no AWS_CONTAINER_CREDENTIALS_... variable is set; "
				"instance metadata: AWS_EC2_METADATA_DISABLED is set.", "nothing anywhere: all places are named");
	setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
	chain_fails(&chain, "AWS_SECRET_ACCESS_KEY is not", "half of a pair");
	setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
	write_file(".aws/credentials", "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = x\n"
			   "[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = x\n");
	chain_gives(&chain, "AKIAENV", "environment", "the environment comes first");
	chain_gives(&(StediCredentialSettings) {.profile = "other"}, "AKIAOTHER",
				"profile \"other\" in ~/.aws/credentials", "unless a profile is asked for");
	setenv("AWS_SECRET_ACCESS_KEY", SECRET "\r\nx-evil: 1", 1);
	chain_fails(&chain, "white space", "what cannot go into a header is refused");
	end_script();
}

static void
test_profiles(void)
{
	StediCredentials keys;
	StediStatus status = {0};

	clear_environment();
	write_file(".aws/config", "[default]\nregion = eu-west-3\naws_access_key_id = AKIACONFIG\n"
			   "aws_secret_access_key = " SECRET "\naws_session_token = T\n[profile empty]\nregion = x\n"
			   "[profile sso]\nsso_session = s\n[profile half]\naws_access_key_id = A\n");
	chain_gives(&chain, "AKIACONFIG", "profile \"default\" in ~/.aws/config", "the config file");
	ok(get_once(&chain, &keys, &status), "once more");
	is(keys.session_token, "T", "with a token");
	is(keys.region, "eu-west-3", "and the profile's region");
	stedi_credentials_free(&keys);
	setenv("AWS_DEFAULT_REGION", "eu-west-2", 1);
	get_once(&chain, &keys, &status);
	is(keys.region, "eu-west-2", "AWS_DEFAULT_REGION comes before it");
	stedi_credentials_free(&keys);
	setenv("AWS_REGION", "eu-west-1", 1);
	get_once(&chain, &keys, &status);
	is(keys.region, "eu-west-1", "and AWS_REGION before that");
	stedi_credentials_free(&keys);
	setenv("AWS_REGION", "evil.example/", 1);
	chain_fails(&chain, "region", "a region that is none");
	unsetenv("AWS_REGION");

	setenv("AWS_PROFILE", "nobody", 1);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint, 1);
	start_script(nobody);
	chain_fails(&chain, "profile \"nobody\": it is neither in", "a profile that was chosen must be there");
	is_int(requests(), 0, "and the search ends with it");
	setenv("AWS_PROFILE", "half", 1);
	chain_fails(&chain, "no aws_secret_access_key", "half of a pair");
	setenv("AWS_PROFILE", "sso", 1);
	chain_fails(&chain, "not supported", "single sign-on");
	end_script();

	clear_environment();
	write_file("config", "[default]\n" SECRET "\n");
	setenv("AWS_CONFIG_FILE", path_of("config"), 1);
	chain_fails(&chain, "config: line 2 is neither", "a malformed file is named, and its line");
	setenv("AWS_CONFIG_FILE", home, 1);
	chain_fails(&chain, "Invalid argument", "a directory is no file");
	setenv("AWS_CONFIG_FILE", "~/config", 1);
	write_file("config", "[default]\naws_access_key_id = AKIAHOME\naws_secret_access_key = x\n");
	chain_gives(&chain, "AKIAHOME", "profile \"default\" in ~/config", "a file of another name");
}

/*
 * Roles
 */
static bool
sts(int fd, const Request *request)
{
	return reply_role(fd, request);
}

static bool
sts_denies(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "403 Forbidden", "", "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
				 "<Message>" SECRET "</Message></Error></ErrorResponse>");
}

static bool
sts_is_busy(int fd, const Request *request)
{
	if (request->number < 3)
		return reply(fd, "503 Service Unavailable", "", "");
	return reply_role(fd, request);
}

static bool
sts_is_odd(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "200 OK", "", "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A"
				 "</AccessKeyId><SecretAccessKey>" SECRET "</SecretAccessKey></Credentials>"
				 "</AssumeRoleResult></AssumeRoleResponse>");
}

static bool
body_has(int number, const char *text)
{
	return strstr(log_of[number - 1].body, text) != NULL;
}

#define KEYS_OF(id)	"aws_access_key_id = " id "\naws_secret_access_key = " SECRET "\n"
#define ROLE_FORM	"RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader"

static void
test_roles(void)
{
	static const StediCredentialSettings by_keys = {
		.access_key_id = "AKIAMAPPING", .secret_access_key = SECRET, .session_token = "MAPTOKEN",
		.role_arn = ROLE, .external_id = "ext", .region = "eu-west-1", .sts_endpoint = endpoint
	};
	StediCredentials keys;
	StediStatus status = {0};

	clear_environment();
	write_file(".aws/config",
			   "[profile role]\nrole_arn = " ROLE "\nsource_profile = base\nregion = eu-west-1\n"
			   "external_id = e x\nrole_session_name = me\nduration_seconds = 900\n"
			   "[profile base]\n" KEYS_OF("AKIABASE")
			   "[profile two]\nrole_arn = " ROLE "2\nsource_profile = role\n"
			   "[profile self]\nrole_arn = " ROLE "\nsource_profile = self\n" KEYS_OF("AKIASELF")
			   "[profile a]\nrole_arn = " ROLE "\nsource_profile = b\n"
			   "[profile b]\nrole_arn = " ROLE "\nsource_profile = a\n"
			   "[profile alone]\nrole_arn = " ROLE "\n"
			   "[profile both]\nrole_arn = " ROLE "\nsource_profile = base\ncredential_source = Environment\n"
			   "[profile lost]\nrole_arn = " ROLE "\nsource_profile = nobody\n"
			   "[profile env]\nrole_arn = " ROLE "\ncredential_source = Environment\n"
			   "[profile what]\nrole_arn = " ROLE "\ncredential_source = Moon\n"
			   "[profile mfa]\nrole_arn = " ROLE "\nsource_profile = base\nmfa_serial = m\n");
	setenv("AWS_ENDPOINT_URL_STS", endpoint, 1);
#define PROFILE(name) (&(StediCredentialSettings) {.profile = (name)})

	start_script(sts);
	chain_gives(PROFILE("role"), "ASIAROLE1", "role " ROLE ", with profile \"base\" in ~/.aws/config",
				"a role with a source profile");
	ok(body_has(1, "Action=AssumeRole&") && body_has(1, ROLE_FORM) && body_has(1, "ExternalId=e%20x") &&
	   body_has(1, "RoleSessionName=me") && body_has(1, "DurationSeconds=900") &&
	   body_has(1, "Version=2011-06-15"), "says all that the profile says");
	ok(has(&log_of[0], "POST / HTTP") && has(&log_of[0], "AKIABASE/") &&
	   has(&log_of[0], "/eu-west-1/sts/aws4_request"), "and is signed for STS in its region");
	chain_gives(PROFILE("two"), "ASIAROLE3", "role " ROLE "2, with role " ROLE
				", with profile \"base\" in ~/.aws/config", "a role by way of another");
	ok(has(&log_of[2], "x-amz-security-token: ROLETOKEN"), "is signed with that one's keys");
	chain_gives(PROFILE("self"), "ASIAROLE4", "role " ROLE ", with profile \"self\" in ~/.aws/config",
				"a profile that is its own source");
	end_script();

	start_script(sts);
	chain_fails(PROFILE("a"), "circles", "circles are refused");
	chain_fails(PROFILE("alone"), "neither a source_profile nor", "a role without a source");
	chain_fails(PROFILE("both"), "both a source_profile and", "a role with two");
	chain_fails(PROFILE("lost"), "no profile \"nobody\"", "a source that is not there");
	chain_fails(PROFILE("what"), "credential_source is unknown", "a source that is none");
	chain_fails(PROFILE("mfa"), "mfa_serial", "a role that needs a code");
	is_int(requests(), 0, "for none of these STS is asked");
	end_script();

	start_script(sts);
	ok(get_once(&by_keys, &keys, &status), "a role with given keys");
	is(keys.source, "role " ROLE ", with user mapping", "says so");
	is(keys.role_arn, ROLE, "and which role");
	ok(keys.expires_at > time(NULL) + 3500 && keys.expires_at <= time(NULL) + 3600, "and until when");
	ok(body_has(1, "ExternalId=ext") && has(&log_of[0], "x-amz-security-token: MAPTOKEN"), "is asked for with them");
	stedi_credentials_free(&keys);
	end_script();

	start_script(sts_denies);
	chain_fails(&by_keys, "HTTP status 403, AccessDenied", "STS denies, with its code but no text");
	is_int(requests(), 1, "and is asked once");
	end_script();
	start_script(sts_is_busy);
	ok(get_once(&by_keys, &keys, &status) && requests() == 3, "a busy STS is asked again");
	stedi_credentials_free(&keys);
	end_script();
	start_script(sts_is_odd);
	chain_fails(&by_keys, "no whole credentials", "half a reply of STS");
	end_script();
	start_script(huge);
	chain_fails(&by_keys, "too large", "a huge reply of STS");
	end_script();
	key_life = -1;
	start_script(sts);
	chain_fails(&by_keys, "expired already", "keys that have expired already");
	end_script();
}

static bool
any_reply(int fd, const Request *request)
{
	if (is_method(request, "POST"))
		return reply_role(fd, request);
	return reply_keys(fd, request->number);
}

static void
test_sources_and_web_identity(void)
{
	StediCredentials keys;
	StediStatus status = {0};

	clear_environment();
	setenv("AWS_ENDPOINT_URL", endpoint, 1);
	write_file(".aws/config", "[profile env]\nrole_arn = " ROLE "\ncredential_source = Environment\n"
			   "[profile ecs]\nrole_arn = " ROLE "\ncredential_source = EcsContainer\n"
			   "[profile web]\nrole_arn = " ROLE "\nweb_identity_token_file = /nonexistent\n");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint, 1);
	setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
	start_script(any_reply);
	setenv("AWS_PROFILE", "env", 1);
	chain_gives(&chain, "AKIAENV", "environment", "keys of the environment before AWS_PROFILE");
	unsetenv("AWS_PROFILE");
	chain_gives(PROFILE("ecs"), "ASIAROLE2", "role " ROLE ", with container", "a role with the container's keys");
	chain_fails(PROFILE("web"), "could not read \"/nonexistent\": No such file", "a token file that is not there");
	end_script();

	clear_environment();
	setenv("AWS_ENDPOINT_URL", endpoint, 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("token"), 1);
	write_file("token", "eyJ.first\n");
	chain_fails(&chain, "AWS_ROLE_ARN is not", "a token without a role");
	setenv("AWS_ROLE_ARN", ROLE, 1);
	setenv("AWS_ROLE_SESSION_NAME", "pod", 1);
	start_script(sts);
	chain_gives(&chain, "ASIAROLE1", "role " ROLE ", with a web identity token", "web identity");
	ok(body_has(1, "Action=AssumeRoleWithWebIdentity&") && body_has(1, "WebIdentityToken=eyJ.first") &&
	   body_has(1, "RoleSessionName=pod") && !has(&log_of[0], "uthorization"), "sends the token, unsigned");
	write_file("token", "eyJ.second");
	get_once(&chain, &keys, &status);
	stedi_credentials_free(&keys);
	ok(body_has(2, "WebIdentityToken=eyJ.second"), "which is read each time");
	write_file("token", "\n");
	chain_fails(&chain, "is empty", "an empty token");
	end_script();

	/* what the proxy is for: STS, not metadata */
	clear_environment();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint, 1);
	start_script(any_reply);
	ok(get_once(&(StediCredentialSettings) {.role_arn = ROLE,.sts_endpoint = "http://sts.example",.proxy = endpoint},
				&keys, &status), "through a proxy");
	ok(has(&log_of[0], "GET / HTTP") && has(&log_of[1], "POST http://sts.example/ HTTP"),
	   "only STS is asked");
	stedi_credentials_free(&keys);
	end_script();
}

/*
 * Containers and instances
 */
static bool
container_asks_for_token(int fd, const Request *request)
{
	if (has(request, "\r\nauthorization: Bearer one\r\n") || has(request, "\r\nauthorization: two\r\n"))
		return reply_keys(fd, request->number);
	return reply(fd, "401 Unauthorized", "", SECRET);
}

static bool
container_is_odd(int fd, const Request *request)
{
	static const char *const texts[] = {
		"", "[]", "{\"AccessKeyId\": \"A\"}", "{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"" SECRET "\"",
		"{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"" SECRET "\", \"Expiration\": \"soon\"}",
		"{\"AccessKeyId\": \"A B\", \"SecretAccessKey\": \"" SECRET "\"}",
		"{\"AccessKeyId\": 7, \"SecretAccessKey\": \"" SECRET "\"}",
	};

	return reply(fd, "200 OK", "", texts[(request->number - 1) % 7]);
}

static void
test_containers(void)
{
	static const struct
	{
		const char *relative;
		const char *full;
		const char *url;
	}			urls[] = {
		{"/v2/credentials/x", NULL, "http://169.254.170.2/v2/credentials/x"},
		{"/v2/x", "http://127.0.0.1/", "http://169.254.170.2/v2/x"},
		{"@evil.example/", NULL, NULL},
		{":80@evil.example/", NULL, NULL},
		{NULL, "http://127.0.0.1:51679/x", "http://127.0.0.1:51679/x"},
		{NULL, "http://127.1.2.3/", "http://127.1.2.3/"},
		{NULL, "http://localhost/", "http://localhost/"},
		{NULL, "http://[::1]/", "http://[::1]/"},
		{NULL, "http://169.254.170.2/", "http://169.254.170.2/"},
		{NULL, "http://169.254.170.23/v1/credentials", "http://169.254.170.23/v1/credentials"},
		{NULL, "http://[fd00:ec2::23]/v1/credentials", "http://[fd00:ec2::23]/v1/credentials"},
		{NULL, "https://keys.example/", "https://keys.example/"},
		{NULL, "http://169.254.169.254/", NULL},
		{NULL, "http://keys.example/", NULL},
		{NULL, "http://127.0.0.1.evil.example/", NULL},
		{NULL, "http://localhost.evil.example/", NULL},
		{NULL, "http://127.0.0.1@evil.example/", NULL},
		{NULL, "http://[fd00:ec2::254]/", NULL},
		{NULL, "http://10.0.0.1/", NULL},
		{NULL, "ftp://127.0.0.1/", NULL},
		{NULL, "file:///etc/passwd", NULL},
		{NULL, "127.0.0.1/", NULL},
	};
	StediCredentials keys;
	StediStatus status = {0};
	double		start;

	clear_environment();
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		const char *why;
		char	   *url;

		unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
		unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
		if (urls[i].relative != NULL)
			setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", urls[i].relative, 1);
		if (urls[i].full != NULL)
			setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", urls[i].full, 1);
		url = stedi_container_url(&why);
		is(url, urls[i].url, urls[i].full != NULL ? urls[i].full : urls[i].relative);
		ok((url == NULL) == (why != NULL), "and why not");
		free(url);
	}

	clear_environment();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint, 1);
	start_script(container_asks_for_token);
	chain_fails(&chain, "container: HTTP status 401", "a container without its token");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer one", 1);
	chain_gives(&chain, "ASIAKEY2", "container", "with a token of the environment");
	write_file("token", "two\n");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path_of("token"), 1);
	chain_gives(&chain, "ASIAKEY3", "container", "with one of a file, which comes first");
	write_file("token", "three\n");
	chain_fails(&chain, "HTTP status 401", "the file is read each time");
	write_file("token", "two\r\nx-evil: 1\n");
	chain_fails(&chain, "not printable", "a token cannot add a header");
	end_script();

	clear_environment();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint, 1);
	start_script(container_is_odd);
	for (int i = 0; i < 7; i++)
		chain_fails(&chain, "Tried environment", "a malformed reply, which is not repeated");
	end_script();
	start_script(huge);
	chain_fails(&chain, "too large", "a huge reply");
	end_script();
	start_script(hangs);
	start = seconds();
	stop_at = start + 0.2;
	ok(!get_once(&chain, &keys, &status) && status.code == STEDI_CANCELLED && seconds() - start < 0.5,
	   "waiting for a container can be cancelled");
	end_script();
}

static bool
instance(int fd, const Request *request)
{
	bool		authorized = has(request, "x-aws-ec2-metadata-token: SESSION==\r\n");

	if (has(request, "PUT /latest/api/token ") && has(request, "x-aws-ec2-metadata-token-ttl-seconds: 21600"))
		return reply(fd, "200 OK", "", "SESSION==");
	if (!authorized)
		return reply(fd, "401 Unauthorized", "", SECRET);
	if (has(request, "GET /latest/meta-data/iam/security-credentials/ "))
		return reply(fd, "200 OK", "", "role/../x\nother");
	if (has(request, "GET /latest/meta-data/iam/security-credentials/role%2F..%2Fx "))
		return reply_keys(fd, request->number);
	return reply(fd, "404 Not Found", "", "");
}

static bool
instance_without_role(int fd, const Request *request)
{
	if (is_method(request, "PUT"))
		return reply(fd, "200 OK", "", "SESSION==");
	return reply(fd, "404 Not Found", "", "");
}

static bool
instance_of_version_1(int fd, const Request *request)
{
	if (is_method(request, "PUT"))
		return reply(fd, "405 Method Not Allowed", "", "");
	return reply_keys(fd, 1);
}

static bool
instance_with_odd_token(int fd, const Request *request)
{
	if (is_method(request, "PUT"))
		return reply(fd, "200 OK", "", "a\r\nx-evil: 1");
	return reply_keys(fd, 1);
}

static void
test_instances(void)
{
	double		start;

	clear_environment();
	unsetenv("AWS_EC2_METADATA_DISABLED");
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint, 1);
	start_script(instance);
	chain_gives(&chain, "ASIAKEY3", "instance metadata", "an instance's role");
	end_script();
	start_script(instance_without_role);
	chain_fails(&chain, "instance metadata: the instance has no role", "an instance without a role");
	end_script();
	start_script(instance_of_version_1);
	chain_fails(&chain, "instance metadata: HTTP status 405 instead of a token", "an instance that knows version 1 only");
	is_int(count_requests("GET", ""), 0, "is not asked for keys");
	end_script();
	start_script(instance_with_odd_token);
	chain_fails(&chain, "instead of a token", "a session token cannot add a header");
	end_script();
	start_script(hangs);
	start = seconds();
	chain_fails(&chain, "no reply within 1000 ms", "an instance that does not answer");
	ok(seconds() - start > 0.9 && seconds() - start < 2, "is given up after a second");
	end_script();
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1/", 1);
	chain_fails(&chain, "instance metadata: ", "nobody listens");
}

/*
 * Programs
 */
static void
set_process(const char *command)
{
	char		text[1200];

	snprintf(text, sizeof(text), "[default]\ncredential_process = %s\n", command);
	write_file(".aws/config", text);
}

#define OUTPUT(id, rest) "{\"Version\": 1, \"AccessKeyId\": \"" id "\", \"SecretAccessKey\": \"" SECRET "\"" rest "}"

/* A command that runs a shell script of ours. */
static const char *
script(const char *text)
{
	static char command[600];

	write_file("program", text);
	snprintf(command, sizeof(command), "sh \"%s\" 'a  b' $HOME", path_of("program"));
	return command;
}

#define TEXT_SIZE	512

static void
read_text(const char *name, char *text)
{
	FILE	   *file = fopen(path_of(name), "r");

	text[0] = '\0';
	if (file == NULL)
		return;
	text[fread(text, 1, TEXT_SIZE - 1, file)] = '\0';
	fclose(file);
}

/* Ended, if perhaps not waited for by its new parent. */
static bool
is_gone(int pid)
{
	char		path[64];
	char		state = 'Z';

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int i = 0; i < 100; i++)
	{
		FILE	   *file = fopen(path, "r");

		if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1 || state == 'Z')
		{
			if (file != NULL)
				fclose(file);
			return true;
		}
		fclose(file);
		usleep(10000);
	}
	return false;
}

static void
test_processes(void)
{
	static const struct
	{
		const char *text;
		const char *detail;
	}			bad[] = {
		{"echo " SECRET "; exit 3", "ended with status 3"},
		{"kill -9 $$", "ended by a signal"},
		{"echo " SECRET, "no JSON object"},
		{"echo '{}'", "no AccessKeyId"},
		{"echo '" OUTPUT("A", "") "' | sed s/1/2/", "no \"Version\": 1"},
		{"echo '" OUTPUT("A", ", \"Expiration\": \"2001-01-01T00:00:00Z\"") "'", "expired already"},
		{"head -c 100000 /dev/zero", "wrote too much"},
		{":", "no JSON object"},
	};
	StediCredentials keys;
	StediStatus status = {0};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct sigaction before;
	sigset_t	blocked;
	char		text[TEXT_SIZE];
	double		start;
	int			pids[2];
	int			leak;

	clear_environment();
	set_process(script("echo '" OUTPUT("AKIAPROCESS", ", \"SessionToken\": \"T\", \"Expiration\": "
									   "\"2038-01-01T00:00:00+01:00\"") "'"));
	chain_gives(&chain, "AKIAPROCESS", "profile \"default\", credential_process", "a program");
	get_once(&chain, &keys, &status);
	is(keys.session_token, "T", "its token");
	is_int(keys.expires_at, 2145916800 - 3600, "its expiry, with an offset");
	stedi_credentials_free(&keys);

	set_process(script("[ \"$1\" = 'a  b' ] && [ \"$2\" = '$HOME' ] && echo '" OUTPUT("AKIAWORDS", "") "'"));
	chain_gives(&chain, "AKIAWORDS", "profile \"default\", credential_process", "quotes quote, and nothing is expanded");

	/* what the child gets */
	leak = open("/dev/null", O_RDONLY);
	sigaction(SIGPIPE, &ignore, &before);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	set_process(script("cd \"${0%/*}\"; grep -E '^Sig(Blk|Ign)' /proc/self/status > seen;"
					   "ls /proc/self/fd > fds; echo '" OUTPUT("AKIASEEN", "") "'"));
	chain_gives(&chain, "AKIASEEN", "profile \"default\", credential_process", "a program among blocked signals");
	sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	sigaction(SIGPIPE, &before, NULL);
	/* signals 32 and 33 are the C library's own */
	read_text("seen", text);
	ok(strncmp(text, "SigBlk:\t0000000000000000\nSigIgn:\t", 33) == 0 && strcmp(text + 42, "0000000\n") == 0,
	   "has them neither blocked nor ignored");
	read_text("fds", text);
	is(text, "0\n1\n2\n3\n", "and no descriptor of ours");	/* 3: the listed directory */
	close(leak);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		set_process(script(bad[i].text));
		chain_fails(&chain, bad[i].detail, bad[i].text);
	}
	set_process("/nonexistent/program");
	chain_fails(&chain, "could not start its credential_process: No such file", "a program that is not there");
	set_process("'open");
	chain_fails(&chain, "cannot be split", "an open quote");

	set_process(script("sleep 100 & echo $$ $! > \"${0%/*}/pids\"; wait"));
	start = seconds();
	stop_at = start + 0.3;
	ok(!get_once(&chain, &keys, &status) && status.code == STEDI_CANCELLED && seconds() - start < 0.6,
	   "waiting for a program can be cancelled");
	read_text("pids", text);
	ok(sscanf(text, "%d %d", &pids[0], &pids[1]) == 2 && is_gone(pids[0]) && is_gone(pids[1]),
	   "and it is gone, with what it started");
	stop_at = 0;
	set_process(script("exec >&-; sleep 0.1; exit 7"));
	chain_fails(&chain, "ended with status 7", "output may end before the program does");
}

/*
 * A waiter that remembers the descriptor it watched, as one on an epoll set does,
 * and notices when the number has become something else.
 */
static int	remembered = -1;
static ino_t remembered_inode;
static int	reused;				/* numbers that came back, in all */
static int	stale;				/* of them, while they were remembered */

static bool
wait_and_remember(void *arg, int fd, long timeout_ms)
{
	static int	last = -1;
	static ino_t last_inode;
	struct stat about;

	if (fd < 0)
		remembered = -1;
	else if (fstat(fd, &about) == 0)
	{
		reused += fd == last && about.st_ino != last_inode;
		stale += fd == remembered && about.st_ino != remembered_inode;
		last = remembered = fd;
		last_inode = remembered_inode = about.st_ino;
	}
	return wait_with_poll(arg, fd, timeout_ms);
}

static void
test_waiting(void)
{
	StediWaiter waiter = {wait_and_remember, NULL};
	StediStatus status = {0};
	StediCredentialProvider *provider = stedi_credential_provider_open(&chain, &status);

	clear_environment();
	/* ended long before its output: the pipe is all that is waited for */
	set_process(script("(sleep 0.2; echo '" OUTPUT("AKIAEARLY", "") "') &"));
	ok(stedi_credential_provider_get(provider, &waiter, &status), "a program");
	stedi_credential_provider_invalidate(provider, 1);
	ok(stedi_credential_provider_get(provider, &waiter, &status), "and once more");
	ok(reused > 0, "the number of the first pipe comes back");
	is_int(stale, 0, "but the waiter was told to forget it");
	stedi_credential_provider_release(provider);
}

int
main(void)
{
	make_home();
	start_server();
	test_environment();
	test_profiles();
	test_roles();
	test_sources_and_web_identity();
	test_containers();
	test_instances();
	test_processes();
	test_waiting();
	remove_home();
	return tap_done();
}
