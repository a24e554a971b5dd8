/*
 * credentials.h
 *		The credentials that a backend has got for a server.
 */
#ifndef STEDI_PG_CREDENTIALS_H
#define STEDI_PG_CREDENTIALS_H

#include "store/credentials.h"

#include "pg/server.h"

/*
 * The provider of a server's credentials for the current user; NULL: anonymous,
 * or plain keys, which need none.  It stays for the session, with what it got, or
 * until a server or user mapping of the database changes.  It is the cache's:
 * whoever keeps it longer than to the next catalog access retains it.
 */
extern StediCredentialProvider *stedi_server_credentials(const StediServer *server);

#endif							/* STEDI_PG_CREDENTIALS_H */
