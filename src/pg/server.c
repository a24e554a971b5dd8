/*
 * server.c
 *		Foreign servers and user mappings: where the lake is, and who may reach it.
 *
 * Options are kept in one table; the validator and the resolver read it.  What
 * would let a user make the backend talk to a host of his choice, or use the
 * host's own identity, is the superuser's to set.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/compat.h"
#include "pg/server.h"

PG_FUNCTION_INFO_V1(stedi_fdw_validator);

#define SUPERUSER_HINT \
	"Only a superuser may choose the host that the server talks to, whom it trusts, and as whom it acts."

typedef void (*OptionCheck) (const char *name, const char *value);

static void check_scope(const char *name, const char *value);
static void check_endpoint(const char *name, const char *value);
static void check_url_style(const char *name, const char *value);
static void check_credentials(const char *name, const char *value);
static void check_region(const char *name, const char *value);
static void check_token(const char *name, const char *value);
static void check_not_empty(const char *name, const char *value);
static void check_boolean(const char *name, const char *value);
static void check_encryption(const char *name, const char *value);
static void check_storage_class(const char *name, const char *value);

typedef struct StediOption
{
	const char *name;
	Oid			catalog;
	bool		superuser_only;
	OptionCheck check;
} StediOption;

static const StediOption options[] = {
	{"scope", ForeignServerRelationId, false, check_scope},
	{"region", ForeignServerRelationId, false, check_region},
	{"endpoint", ForeignServerRelationId, true, check_endpoint},
	{"url_style", ForeignServerRelationId, false, check_url_style},
	{"ca_file", ForeignServerRelationId, true, NULL},
	{"proxy", ForeignServerRelationId, true, NULL},
	{"credentials", ForeignServerRelationId, false, check_credentials},
	{"profile", ForeignServerRelationId, true, check_not_empty},
	{"role_arn", ForeignServerRelationId, true, check_token},
	{"external_id", ForeignServerRelationId, true, check_token},
	{"sts_endpoint", ForeignServerRelationId, true, check_endpoint},
	{"server_side_encryption", ForeignServerRelationId, false, check_encryption},
	{"kms_key_id", ForeignServerRelationId, false, check_token},
	{"storage_class", ForeignServerRelationId, false, check_storage_class},
	{"requester_pays", ForeignServerRelationId, false, check_boolean},
	{"access_key_id", UserMappingRelationId, false, check_token},
	{"secret_access_key", UserMappingRelationId, false, check_token},
	{"session_token", UserMappingRelationId, false, check_token},
};

/*
 * Values as S3 spells them.  Encryption "none" leaves it to the bucket.  Of the
 * storage classes those from which an object can be read at once: an export
 * reads the manifest of the one before.
 */
static const char *const encryptions[] = {"none", "AES256", "aws:kms", "aws:kms:dsse", NULL};
static const char *const storage_classes[] = {
	"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR",
	"REDUCED_REDUNDANCY", "EXPRESS_ONEZONE", NULL
};

static const char *one_of(const char *const *values, const char *value);
static void check_one_of(const char *const *values, const char *name, const char *value);
static void check_combination(List *defs);
static const StediOption *find_option(const char *name, Oid catalog);
static char *valid_options(Oid catalog);
static const char *get_option(List *defs, const char *name);
static bool is_trusted(Oid owner, Oid fdwid);
static bool scope_covers(const char *scope, const char *uri);
static StediServer *server_settings(ForeignServer *server, const char *scope);
static bool has_value(const char *option, const char *value);
static void set_mapping(StediServer *settings, ForeignServer *server);

/*
 * Validate the options of a server or user mapping; the wrapper itself has none.
 * Values of user mapping options are secrets and never appear in a message.
 */
PGDLLEXPORT Datum
stedi_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *defs = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *cell;

	foreach(cell, defs)
	{
		DefElem    *def = lfirst_node(DefElem, cell);
		const StediOption *option = find_option(def->defname, catalog);

		if (option == NULL)
		{
			char	   *valid = valid_options(catalog);

			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", def->defname),
					 valid[0] ? errhint("Valid options in this context are: %s.", valid)
					 : errhint("There are no valid options in this context.")));
		}
		if (option->superuser_only && !superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set option \"%s\"", option->name),
					 errhint(SUPERUSER_HINT)));
		if (option->check != NULL)
			option->check(option->name, defGetString(def));
	}

	if (catalog == ForeignServerRelationId)
		check_combination(defs);
	if (catalog == UserMappingRelationId &&
		(get_option(defs, "access_key_id") == NULL) != (get_option(defs, "secret_access_key") == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("options \"access_key_id\" and \"secret_access_key\" must be set together")));
	if (get_option(defs, "kms_key_id") != NULL)
	{
		const char *encryption = get_option(defs, "server_side_encryption");

		if (encryption == NULL || pg_strncasecmp(encryption, "aws:kms", 7) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("option \"kms_key_id\" needs option \"server_side_encryption\" to be aws:kms or aws:kms:dsse")));
	}

	PG_RETURN_VOID();
}

/* Options that mean nothing without, or beside, another one. */
static void
check_combination(List *defs)
{
	const char *credentials = get_option(defs, "credentials");

	if (get_option(defs, "profile") != NULL && !has_value(credentials, "chain"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"profile\" needs credentials 'chain'")));
	if (get_option(defs, "role_arn") != NULL && has_value(credentials, "anonymous"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"role_arn\" needs credentials 'mapping' or 'chain'")));
	if (get_option(defs, "external_id") != NULL && get_option(defs, "role_arn") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"external_id\" needs option \"role_arn\"")));
}

static bool
has_value(const char *option, const char *value)
{
	return option != NULL && pg_strcasecmp(option, value) == 0;
}

static const StediOption *
find_option(const char *name, Oid catalog)
{
	for (int i = 0; i < (int) lengthof(options); i++)
	{
		if (options[i].catalog == catalog && strcmp(options[i].name, name) == 0)
			return &options[i];
	}
	return NULL;
}

static char *
valid_options(Oid catalog)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(options); i++)
	{
		if (options[i].catalog == catalog)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", options[i].name);
	}
	return names.data;
}

static const char *
get_option(List *defs, const char *name)
{
	ListCell   *cell;

	foreach(cell, defs)
	{
		DefElem    *def = lfirst_node(DefElem, cell);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

static void
check_scope(const char *name, const char *value)
{
	if (strncmp(value, "s3://", 5) != 0)	/* URIs are compared with it as text */
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
				 errhint("A scope is s3://, s3://bucket/ or s3://bucket/prefix/.")));
}

static void
check_endpoint(const char *name, const char *value)
{
	const char *host = NULL;

	if (pg_strncasecmp(value, "https://", 8) == 0)
		host = value + 8;
	else if (pg_strncasecmp(value, "http://", 7) == 0)
		host = value + 7;

	if (host == NULL || host[0] == '\0' || strcspn(host, "/?#@ \t\r\n") != strlen(host))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", name),
				 errhint("An endpoint is https://host or https://host:port, without path or user name.")));
}

/* It becomes part of a host name, and must not become more of it. */
static void
check_region(const char *name, const char *value)
{
	if (value[0] == '\0' || strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
				 errhint("A region is made of lower-case letters, digits and hyphens, such as eu-west-1.")));
}

static void
check_url_style(const char *name, const char *value)
{
	if (pg_strcasecmp(value, "path") != 0 && pg_strcasecmp(value, "virtual") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
				 errhint("Valid values are path and virtual.")));
}

static void
check_credentials(const char *name, const char *value)
{
	if (!has_value(value, "mapping") && !has_value(value, "anonymous") && !has_value(value, "chain"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
				 errhint("Valid values are mapping, anonymous and chain.")));
	/* server_settings() looks at the owner, who may change, again */
	if (has_value(value, "chain") && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\" to \"chain\"", name),
				 errhint(SUPERUSER_HINT)));
}

/* One word of printable ASCII: it goes into a header or a host name. */
static void
check_token(const char *name, const char *value)
{
	for (const char *p = value; *p; p++)
	{
		if (*p <= ' ' || *p >= 0x7F)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", name),
					 errdetail("It contains white space or a character that is not printable ASCII.")));
	}
	check_not_empty(name, value);
}

static void
check_not_empty(const char *name, const char *value)
{
	if (value[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", name),
				 errdetail("It is empty.")));
}

static void
check_boolean(const char *name, const char *value)
{
	bool		parsed;

	if (!parse_bool(value, &parsed))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
				 errhint("Valid values are true and false.")));
}

static void
check_encryption(const char *name, const char *value)
{
	check_one_of(encryptions, name, value);
}

static void
check_storage_class(const char *name, const char *value)
{
	check_one_of(storage_classes, name, value);
}

static void
check_one_of(const char *const *values, const char *name, const char *value)
{
	StringInfoData valid;

	if (one_of(values, value) != NULL)
		return;
	initStringInfo(&valid);
	for (int i = 0; values[i] != NULL; i++)
		appendStringInfo(&valid, "%s%s", i == 0 ? "" : values[i + 1] == NULL ? " and " : ", ", values[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 errhint("Valid values are %s.", valid.data)));
}

/* The value in the list's spelling, or NULL; case does not matter. */
static const char *
one_of(const char *const *values, const char *value)
{
	for (; value != NULL && *values != NULL; values++)
	{
		if (pg_strcasecmp(*values, value) == 0)
			return *values;
	}
	return NULL;
}

StediServer *
stedi_server_for_uri(const char *uri)
{
	Oid			fdwid = get_foreign_data_wrapper_oid(STEDI_FDW_NAME, false);
	Relation	catalog = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	ForeignServer *best = NULL;
	ForeignServer *tied = NULL;
	ForeignServer *denied = NULL;
	const char *best_scope = NULL;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);
		ForeignServer *server;
		const char *scope;

		if (form->srvfdw != fdwid || !is_trusted(form->srvowner, fdwid))
			continue;
		server = GetForeignServer(form->oid);
		scope = get_option(server->options, "scope");
		if (scope == NULL)
			scope = "s3://";
		if (!scope_covers(scope, uri))
			continue;
		if (StediServerAclCheck(server->serverid, GetUserId()) != ACLCHECK_OK)
		{
			denied = server;
			continue;
		}
		if (best == NULL || strlen(scope) > strlen(best_scope))
		{
			best = server;
			best_scope = scope;
			tied = NULL;
		}
		else if (strlen(scope) == strlen(best_scope))
			tied = server;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	if (tied != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("more than one server has scope \"%s\"", best_scope),
				 errdetail("URI \"%s\" is covered by servers \"%s\" and \"%s\".",
						   uri, best->servername, tied->servername),
				 errhint("Give one of them a different scope option, or revoke USAGE on it.")));
	if (best == NULL && denied != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", denied->servername),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s;",
						 quote_identifier(denied->servername),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	if (best == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no server covers \"%s\"", uri),
				 errhint("CREATE SERVER lake FOREIGN DATA WRAPPER %s OPTIONS (region '...', scope 's3://bucket/');",
						 STEDI_FDW_NAME)));

	return server_settings(best, best_scope);
}

/*
 * Somebody else's server must not draw a user's data to another place, or feed
 * him other data, by having a longer scope: only those of a superuser, of the
 * wrapper's owner and his own count.
 */
static bool
is_trusted(Oid owner, Oid fdwid)
{
	return owner == GetUserId() || superuser_arg(owner) ||
		owner == GetForeignDataWrapper(fdwid)->owner;
}

/* A scope ends at a '/' of the URI: s3://team does not cover s3://team-b/. */
static bool
scope_covers(const char *scope, const char *uri)
{
	size_t		length = strlen(scope);

	return strncmp(scope, uri, length) == 0 &&
		(scope[length - 1] == '/' || uri[length] == '/' || uri[length] == '\0');
}

static StediServer *
server_settings(ForeignServer *server, const char *scope)
{
	StediServer *settings = palloc0(sizeof(StediServer));
	const char *url_style = get_option(server->options, "url_style");
	const char *credentials = get_option(server->options, "credentials");
	const char *requester_pays = get_option(server->options, "requester_pays");

	settings->serverid = server->serverid;
	settings->name = server->servername;
	settings->scope = pstrdup(scope);
	settings->region = unconstify(char *, get_option(server->options, "region"));
	settings->endpoint = unconstify(char *, get_option(server->options, "endpoint"));
	settings->ca_file = unconstify(char *, get_option(server->options, "ca_file"));
	settings->proxy = unconstify(char *, get_option(server->options, "proxy"));
	settings->profile = unconstify(char *, get_option(server->options, "profile"));
	settings->role_arn = unconstify(char *, get_option(server->options, "role_arn"));
	settings->external_id = unconstify(char *, get_option(server->options, "external_id"));
	settings->sts_endpoint = unconstify(char *, get_option(server->options, "sts_endpoint"));
	settings->url_style = has_value(url_style, "path") ? STEDI_URL_STYLE_PATH : STEDI_URL_STYLE_VIRTUAL;
	settings->server_side_encryption = one_of(encryptions, get_option(server->options, "server_side_encryption"));
	if (settings->server_side_encryption == encryptions[0])
		settings->server_side_encryption = NULL;
	settings->kms_key_id = unconstify(char *, get_option(server->options, "kms_key_id"));
	settings->storage_class = one_of(storage_classes, get_option(server->options, "storage_class"));
	if (requester_pays != NULL)
		(void) parse_bool(requester_pays, &settings->requester_pays);

	settings->is_anonymous = has_value(credentials, "anonymous");
	if (settings->is_anonymous)
		return settings;
	set_mapping(settings, server);
	if (has_value(credentials, "chain"))
	{
		/*
		 * The server may have been given to somebody else, or changed for its
		 * owner, since the option was set: who can change where it leads must not
		 * act as this machine.
		 */
		if (!superuser_arg(server->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("server \"%s\" may not use the credentials of this machine", server->servername),
					 errdetail("Its owner \"%s\" is not a superuser.",
							   GetUserNameFromId(server->owner, false)),
					 errhint("Give the server to a superuser, or set its option credentials to 'mapping'.")));
	}
	else if (settings->access_key_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no credentials for server \"%s\"", server->servername),
				 errhint("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (access_key_id '...', secret_access_key '...');",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)),
						 quote_identifier(server->servername))));
	return settings;
}

/* The keys of the current user's mapping, or of PUBLIC's; none leaves them NULL. */
static void
set_mapping(StediServer *settings, ForeignServer *server)
{
	HeapTuple	tuple;
	UserMapping *mapping;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(GetUserId()),
							ObjectIdGetDatum(server->serverid));
	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server->serverid));
	if (!HeapTupleIsValid(tuple))
		return;
	ReleaseSysCache(tuple);
	mapping = GetUserMapping(GetUserId(), server->serverid);
	settings->access_key_id = unconstify(char *, get_option(mapping->options, "access_key_id"));
	settings->secret_access_key = unconstify(char *, get_option(mapping->options, "secret_access_key"));
	settings->session_token = unconstify(char *, get_option(mapping->options, "session_token"));
}
