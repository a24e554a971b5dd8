/*
 * compat.h
 *		Differences between PostgreSQL 15 and 18, in one place.
 */
#ifndef STEDI_PG_COMPAT_H
#define STEDI_PG_COMPAT_H

#include "access/multixact.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/storage.h"
#include "commands/vacuum.h"
#include "common/relpath.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/smgr.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#if PG_VERSION_NUM < 150000
#error "stedi needs PostgreSQL 15 or later"
#endif

/* 18: stands before the declaration, not after it */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* 16: one ACL check for all kinds of objects */
static inline AclResult
StediServerAclCheck(Oid serverid, Oid userid)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, serverid, userid, ACL_USAGE);
#else
	return pg_foreign_server_aclcheck(serverid, userid, ACL_USAGE);
#endif
}

/* 16: one ownership check for all kinds of objects; 17: MAINTAIN can be granted */
static inline bool
StediMayMaintain(Oid relid, Oid userid)
{
#if PG_VERSION_NUM >= 170000
	return pg_class_aclcheck(relid, userid, ACL_MAINTAIN) == ACLCHECK_OK;
#elif PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, userid);
#else
	return pg_class_ownercheck(relid, userid);
#endif
}

/* 16: relation files are found by a locator, and have numbers */
#if PG_VERSION_NUM >= 160000
typedef RelFileLocator StediLocator;
#define StediLocatorOf(rel) ((rel)->rd_locator)
#define StediFileNumber(locator) ((locator).relNumber)
#define StediSkipsWAL(locator) RelFileLocatorSkippingWAL(locator)
#define StediAssumeNewStorage(rel) RelationAssumeNewRelfilelocator(rel)
#define StediGetNewFileNumber(rel) \
	GetNewRelFileNumber((rel)->rd_rel->reltablespace, NULL, (rel)->rd_rel->relpersistence)
#else
typedef RelFileNode StediLocator;
#define StediLocatorOf(rel) ((rel)->rd_node)
#define StediFileNumber(locator) ((locator).relNode)
#define StediSkipsWAL(locator) RelFileNodeSkippingWAL(locator)
#define StediAssumeNewStorage(rel) RelationAssumeNewRelfilenode(rel)
#define StediGetNewFileNumber(rel) \
	GetNewRelFileNode((rel)->rd_rel->reltablespace, NULL, (rel)->rd_rel->relpersistence)
#endif

/* 18: a path is a struct */
static inline char *
StediRelationPath(Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return pstrdup(relpathbackend(rel->rd_locator, rel->rd_backend, MAIN_FORKNUM).str);
#else
	return relpathbackend(StediLocatorOf(rel), rel->rd_backend, MAIN_FORKNUM);
#endif
}

/* 16: ExecInsertIndexTuples learned about summarizing indexes */
static inline List *
StediInsertIndexTuples(ResultRelInfo *result_rel, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(result_rel, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(result_rel, slot, estate, false, false, NULL, NIL);
#endif
}

/* 18: generated columns that are not stored; NOT NULL holds for them, too */
static inline bool
StediHasGenerated(const TupleConstr *constr)
{
#if PG_VERSION_NUM >= 180000
	return constr->has_generated_stored || constr->has_generated_virtual;
#else
	return constr->has_generated_stored;
#endif
}

/* 17: wait event sets belong to a resource owner instead of a memory context;
 * this one lives until it is freed. */
static inline WaitEventSet *
StediCreateWaitEventSet(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* A file beside that of the relation, dropped when the (sub)transaction fails */
static inline StediLocator
StediCreateStorage(Relation rel)
{
	StediLocator locator = StediLocatorOf(rel);

	StediFileNumber(locator) = StediGetNewFileNumber(rel);
	RelationCreateStorage(locator, rel->rd_rel->relpersistence, true);
	return locator;
}

static inline SMgrRelation
StediOpenStorage(StediLocator locator)
{
#if PG_VERSION_NUM >= 170000
	return smgropen(locator, INVALID_PROC_NUMBER);
#else
	return smgropen(locator, InvalidBackendId);
#endif
}

/* Pages of the map have no line pointers that would say what is empty in them. */
static inline void
StediLogNewPages(StediLocator locator, ForkNumber fork, int n, BlockNumber *blocks, Page *pages)
{
	log_newpages(&locator, fork, n, blocks, pages, fork == MAIN_FORKNUM);
}

/* 16: relation files have numbers */
static inline void
StediSetNewStorage(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	RelationSetNewRelfilenumber(rel, rel->rd_rel->relpersistence);
#else
	RelationSetNewRelfilenode(rel, rel->rd_rel->relpersistence);
#endif
}

/* 17: event triggers are told of the statement */
static inline void
StediReindexIndex(Oid indexid)
{
	ReindexParams params = {0};

#if PG_VERSION_NUM >= 170000
	reindex_index(NULL, indexid, false, RELPERSISTENCE_PERMANENT, &params);
#else
	reindex_index(indexid, false, RELPERSISTENCE_PERMANENT, &params);
#endif
}

/* 18: counts frozen pages, too; ours are frozen if they are visible to all */
static inline void
StediUpdateRelStats(Relation rel, BlockNumber pages, double rows, BlockNumber all_visible, bool has_index)
{
#if PG_VERSION_NUM >= 180000
	vac_update_relstats(rel, pages, rows, all_visible, all_visible, has_index, InvalidTransactionId,
						InvalidMultiXactId, NULL, NULL, true);
#else
	vac_update_relstats(rel, pages, rows, all_visible, has_index, InvalidTransactionId,
						InvalidMultiXactId, NULL, NULL, true);
#endif
}

/* 18: the executor is always run once */
static inline void
StediExecutorRun(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, 0);
#else
	ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

#endif							/* STEDI_PG_COMPAT_H */
