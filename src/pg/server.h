/*
 * server.h
 *		Foreign servers and user mappings: where the lake is, and who may reach it.
 */
#ifndef STEDI_PG_SERVER_H
#define STEDI_PG_SERVER_H

#include "store/store.h"

#define STEDI_FDW_NAME "stedi"

/* Connection settings that come from the catalogs; strings are palloc'd or NULL. */
typedef struct StediServer
{
	Oid			serverid;
	char	   *name;
	char	   *scope;
	char	   *region;
	char	   *endpoint;
	StediUrlStyle url_style;
	char	   *ca_file;
	char	   *proxy;
	bool		is_anonymous;
	char	   *access_key_id;	/* the mapping's; NULL: the chain, unless anonymous */
	char	   *secret_access_key;
	char	   *session_token;
	char	   *profile;		/* of the chain */
	char	   *role_arn;		/* to assume with either */
	char	   *external_id;
	char	   *sts_endpoint;
	const char *server_side_encryption; /* these two as S3 spells them, or NULL */
	const char *storage_class;
	char	   *kms_key_id;
	bool		requester_pays;
} StediServer;

/*
 * The server with the longest scope that covers the URI, among those on which
 * the current user has USAGE, with that user's mapping.  Errors: 42501 when only servers
 * without USAGE cover it, 42704 when none does, 42710 when two scopes tie, 28000
 * when there is no user mapping, 42501 for the chain when the server's owner is
 * not a superuser.
 */
extern StediServer *stedi_server_for_uri(const char *uri);

#endif							/* STEDI_PG_SERVER_H */
