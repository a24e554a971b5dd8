/*
 * worker.c
 *		Loading with background workers.
 *
 *	 leader                                          worker (one of n)
 *	   lock the target, list, pending?                 connect as the same role,
 *	   |                                               with the same settings
 *	   |<---------------- ready -----------------------|
 *	   |----------------- batch of objects ----------->|  BEGIN; load; COMMIT
 *	   |<---------------- outcomes, or an error -------|
 *	   |                    ...                        |
 *	   |----------------- (queue closed) ------------->|  exit
 *
 * Leader: the backend that runs CALL run().  Batch: the objects that one worker
 * loads in one transaction, all of one source; they get smaller towards the end of
 * what is known to be pending, so that all workers end at about the same time.  For
 * that the next source is begun while the last objects of one are being loaded.
 *
 * The workers belong to the leader's lock group.  So what one of them waits for
 * while somebody else waits for the leader is a deadlock that is detected, and the
 * leader's locks are in nobody's way.  The price: members of a group do not wait
 * for each other's transactions.  Nothing that they load may depend on that, as
 * unique keys do, wherefore only plain tables are loaded so.
 *
 * Whatever happens to the leader, it ends only after its workers have: a
 * target stays locked against other loads for as long as anybody loads into it.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/compat.h"
#include "pg/error.h"
#include "pg/insert.h"
#include "pg/lake.h"
#include "pg/worklist.h"
#include "pg/worker.h"

#define MAGIC			0x57ED1
#define QUEUE_SIZE		(64 * 1024)
#define BATCHES_AHEAD	2		/* a batch is this part of a worker's share of what is known */

/* What the parts of the shared memory segment are found by. */
enum
{
	KEY_SHARED,
	KEY_SETTINGS,
	KEY_QUEUES					/* for each worker: batches, then results */
};

typedef struct Shared
{
	Oid			database;
	Oid			session_user;
	Oid			current_user;
	PGPROC	   *leader;
	pid_t		leader_pid;
} Shared;

/* How a worker's messages begin. */
enum
{
	MESSAGE_READY,
	MESSAGE_OUTCOMES,
	MESSAGE_ERROR
};

/* The leader's view of a source. */
typedef struct Source
{
	StediWorkerLoad *load;
	StediLake  *lake;
	StediWorklist *worklist;	/* NULL: not begun, or the target is no plain table */
	TimestampTz begun;
} Source;

typedef struct Worker
{
	BackgroundWorkerHandle *handle;
	shm_mq_handle *batches;
	shm_mq_handle *results;
	Source	   *source;			/* of the batch that it has; NULL: none yet */
	bool		started;		/* it said that it is ready */
	bool		busy;			/* a message of it is due */
	bool		gone;
} Worker;

typedef struct Leader
{
	MemoryContext context;
	Source	   *sources;
	int			n_sources;		/* those of this transaction */
	int			next_source;	/* of which objects are handed out */
	dsm_segment *segment;
	char	   *queues;
	Worker		workers[STEDI_MAX_WORKERS];
	int			n_workers;
	int			max_workers;
	ErrorData  *error;			/* the first that concerns more than a source */
} Leader;

/* The lake that a worker has open from one batch to the next. */
typedef struct WorkerLake
{
	MemoryContext context;
	StediLake  *lake;			/* or NULL */
	char	   *uri;
} WorkerLake;

PGDLLEXPORT void stedi_worker_main(Datum main_arg);

static void hand_out(Leader *leader);
static Source *pending_source(Leader *leader);
static bool target_is_busy(const Leader *leader, const Source *source);
static void look_for_pending(Leader *leader, Source *source);
static void begin_source(Leader *leader, Source *source);
static void start_workers(Leader *leader, int n_batches);
static void create_segment(Leader *leader);
static bool start_worker(Leader *leader, Worker *worker, int number);
static bool receive(Leader *leader, Worker *worker);
static void take_message(Leader *leader, Worker *worker, char *message);
static void note_error(Leader *leader, Source *source, ErrorData *error);
static bool hand_batch(Leader *leader, Worker *worker, Source *source);
static int	alive(const Leader *leader);
static void finish_workers(Leader *leader);
static void stop_workers(int code, Datum arg);
static bool load_batch(const Shared *shared, WorkerLake *lake, char *batch, shm_mq_handle *results);
static StediLake *open_lake(WorkerLake *lake, const char *uri);
static void close_lake(WorkerLake *lake);
static void note_outcome(void *arg, const StediOutcome *outcome);
static void put_int(StringInfo message, int64 number);
static void put_text(StringInfo message, const char *text);
static int64 get_int(char **message);
static char *get_text(char **message);

int
stedi_run_workers(StediWorkerLoad *loads, int n_loads, int n_workers)
{
	Leader	   *leader = palloc0(sizeof(Leader));

	leader->context = CurrentMemoryContext;
	leader->sources = palloc0(sizeof(Source) * n_loads);
	leader->n_sources = n_loads;
	leader->max_workers = n_workers;
	for (int i = 0; i < n_loads; i++)
		leader->sources[i].load = &loads[i];

	PG_ENSURE_ERROR_CLEANUP(stop_workers, PointerGetDatum(leader));
	{
		hand_out(leader);
		finish_workers(leader);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_workers, PointerGetDatum(leader));
	if (leader->error != NULL)
		ThrowErrorData(leader->error);

	for (int i = 0; i < n_loads; i++)
	{
		if (leader->sources[i].lake != NULL)
			stedi_lake_close(leader->sources[i].lake);
	}
	return leader->n_sources;
}

/* Until everything has been handed out and loaded, or there is an error and the
 * others have ended. */
static void
hand_out(Leader *leader)
{
	for (;;)
	{
		/* This may wait, and so has to come before the look at the queues. */
		Source	   *source = pending_source(leader);
		bool		again = false;
		int			busy = 0;

		if (source != NULL)
			start_workers(leader, stedi_worklist_known(source->worklist));
		for (int i = 0; i < leader->n_workers; i++)
		{
			Worker	   *worker = &leader->workers[i];

			/* The idle, too: one may have gone. */
			while (!worker->gone && receive(leader, worker))
				again = true;
			busy += worker->busy;
		}
		for (int i = 0; i < leader->n_workers && source != NULL; i++)
		{
			Worker	   *worker = &leader->workers[i];

			if (leader->error != NULL || source->load->failed ||
				stedi_worklist_known(source->worklist) == 0)
				break;
			if (worker->busy || worker->gone)
				continue;
			again = true;
			if (!hand_batch(leader, worker, source))
				break;
		}

		if (again)
			continue;
		if (busy == 0)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1L, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The first source of which something is known to be pending; NULL: none yet, or
 * there is nobody to load it. */
static Source *
pending_source(Leader *leader)
{
	for (; leader->next_source < leader->n_sources; leader->next_source++)
	{
		Source	   *source = &leader->sources[leader->next_source];

		if (leader->error != NULL ||
			(alive(leader) == 0 && leader->n_workers == leader->max_workers))
			return NULL;
		if (!source->load->failed &&
			(source->worklist == NULL || stedi_worklist_known(source->worklist) == 0))
		{
			if (target_is_busy(leader, source))
				return NULL;
			look_for_pending(leader, source);
		}
		if (!source->load->failed && source->worklist != NULL &&
			stedi_worklist_known(source->worklist) > 0)
			return source;
	}
	return NULL;
}

/* Is somebody loading another source into the same target?  What he loads is still
 * pending for whoever asks. */
static bool
target_is_busy(const Leader *leader, const Source *source)
{
	for (int i = 0; i < leader->n_workers; i++)
	{
		const Worker *worker = &leader->workers[i];

		if (worker->busy && worker->source != NULL && worker->source != source &&
			worker->source->load->job->target == source->load->job->target)
			return true;
	}
	return false;
}

/* List what a source has, its first page or the next; an error is the source's. */
static void
look_for_pending(Leader *leader, Source *source)
{
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(leader->context);
	PG_TRY();
	{
		if (source->worklist == NULL)
			begin_source(leader, source);
		if (source->worklist != NULL && stedi_worklist_peek(source->worklist) == NULL)
		{
			source->load->complete = stedi_worklist_listed(source->worklist) > 0;
			stedi_lake_close(source->lake);
			source->lake = NULL;
		}
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(leader->context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error = stedi_rollback_caught(leader->context, owner);

		if (!stedi_concerns_source(error->sqlerrcode))
			ReThrowError(error);
		note_error(leader, source, error);
	}
	PG_END_TRY();
}

/* The first may have to wait.  For others the leader does not, which has locked
 * targets already, and workers to look after. */
static void
begin_source(Leader *leader, Source *source)
{
	const StediJob *job = source->load->job;
	Relation	rel;
	bool		plain;

	source->begun = GetCurrentTimestamp();
	rel = stedi_open_target(job, source == leader->sources);
	if (rel == NULL)
	{
		leader->n_sources = leader->next_source;
		return;
	}
	plain = stedi_takes_multi_insert(rel) && !RelationUsesLocalBuffers(rel);
	/* The workers take this lock, each for its transaction. */
	table_close(rel, RowExclusiveLock);
	if (!plain)
		return;
	source->lake = stedi_lake_open(job->uri, STEDI_READ, false);
	source->worklist = stedi_worklist_begin(source->lake, job->target, NULL, false);
}

/* As many as there are batches for, besides those that have not begun yet. */
static void
start_workers(Leader *leader, int n_batches)
{
	int			idle = 0;

	for (int i = 0; i < leader->n_workers; i++)
		idle += !leader->workers[i].gone && (!leader->workers[i].busy || !leader->workers[i].started);
	for (; idle < n_batches && leader->n_workers < leader->max_workers; idle++)
	{
		if (leader->segment == NULL)
			create_segment(leader);
		if (!start_worker(leader, &leader->workers[leader->n_workers], leader->n_workers))
		{
			ereport(NOTICE,
					(errmsg("%d of %d workers could be started", leader->n_workers, leader->max_workers),
					 errhint("max_worker_processes limits how many there are in the cluster.")));
			leader->max_workers = leader->n_workers;
			return;
		}
	}
}

/* The memory that the leader shares with its workers. */
static void
create_segment(Leader *leader)
{
	Size		settings_size = EstimateGUCStateSpace();
	Size		queues_size = 2 * QUEUE_SIZE * (Size) leader->max_workers;
	shm_toc_estimator estimator;
	shm_toc    *toc;
	Shared	   *shared;
	char	   *settings;

	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, sizeof(Shared));
	shm_toc_estimate_chunk(&estimator, settings_size);
	shm_toc_estimate_chunk(&estimator, queues_size);
	shm_toc_estimate_keys(&estimator, 3);
	leader->segment = dsm_create(shm_toc_estimate(&estimator), 0);
	toc = shm_toc_create(MAGIC, dsm_segment_address(leader->segment), shm_toc_estimate(&estimator));

	shared = shm_toc_allocate(toc, sizeof(Shared));
	shared->database = MyDatabaseId;
	shared->session_user = GetSessionUserId();
	shared->current_user = GetUserId();
	shared->leader = MyProc;
	shared->leader_pid = MyProcPid;
	shm_toc_insert(toc, KEY_SHARED, shared);

	settings = shm_toc_allocate(toc, settings_size);
	SerializeGUCState(settings_size, settings);
	shm_toc_insert(toc, KEY_SETTINGS, settings);

	leader->queues = shm_toc_allocate(toc, queues_size);
	shm_toc_insert(toc, KEY_QUEUES, leader->queues);
	BecomeLockGroupLeader();
}

static bool
start_worker(Leader *leader, Worker *worker, int number)
{
	char	   *queues = leader->queues + 2 * QUEUE_SIZE * (Size) number;
	BackgroundWorker registration = {0};
	shm_mq	   *batches = shm_mq_create(queues, QUEUE_SIZE);
	shm_mq	   *results = shm_mq_create(queues + QUEUE_SIZE, QUEUE_SIZE);

	snprintf(registration.bgw_name, BGW_MAXLEN, "stedi worker of process %d", MyProcPid);
	strlcpy(registration.bgw_type, "stedi worker", BGW_MAXLEN);
	registration.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	registration.bgw_start_time = BgWorkerStart_RecoveryFinished;
	registration.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(registration.bgw_library_name, "stedi", sizeof(registration.bgw_library_name));
	strlcpy(registration.bgw_function_name, "stedi_worker_main", BGW_MAXLEN);
	registration.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(leader->segment));
	memcpy(registration.bgw_extra, &number, sizeof(number));
	registration.bgw_notify_pid = MyProcPid;
	shm_mq_set_sender(batches, MyProc);
	shm_mq_set_receiver(results, MyProc);
	worker->batches = shm_mq_attach(batches, leader->segment, NULL);
	worker->results = shm_mq_attach(results, leader->segment, NULL);
	if (!RegisterDynamicBackgroundWorker(&registration, &worker->handle))
		return false;

	/* From here on it is one that has to be waited for, whatever happens. */
	leader->n_workers++;
	shm_mq_set_handle(worker->batches, worker->handle);
	shm_mq_set_handle(worker->results, worker->handle);
	worker->busy = true;
	return true;
}

static int
alive(const Leader *leader)
{
	int			n = 0;

	for (int i = 0; i < leader->n_workers; i++)
		n += !leader->workers[i].gone;
	return n;
}

/* Take a message of a worker, if there is one. */
static bool
receive(Leader *leader, Worker *worker)
{
	Size		length;
	void	   *data;
	shm_mq_result result = shm_mq_receive(worker->results, &length, &data, true);
	bool		was_busy = worker->busy;
	MemoryContext old;

	if (result == SHM_MQ_WOULD_BLOCK)
		return false;
	worker->busy = false;
	old = MemoryContextSwitchTo(leader->context);
	if (result == SHM_MQ_SUCCESS)
		take_message(leader, worker, data);
	else
	{
		worker->gone = true;
		/* One that could not even connect, or has nothing to load, is one less. */
		if (was_busy && worker->source != NULL)
		{
			ErrorData  *error = palloc0(sizeof(ErrorData));

			error->sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
			error->message = "a worker was terminated: what it was loading is rolled back, and loaded by the next run";
			note_error(leader, worker->source, error);
		}
	}
	MemoryContextSwitchTo(old);
	return true;
}

static void
take_message(Leader *leader, Worker *worker, char *message)
{
	Source	   *source = worker->source;
	ErrorData  *error;

	switch (get_int(&message))
	{
		case MESSAGE_READY:
			worker->started = true;
			break;

		case MESSAGE_OUTCOMES:
			for (int64 n = get_int(&message); n > 0; n--)
			{
				StediOutcome outcome = {0};

				outcome.source = source->load->job->source;
				outcome.uri = get_text(&message);
				outcome.status = get_text(&message);
				outcome.first_error = get_text(&message);
				outcome.parsed = get_int(&message);
				outcome.loaded = get_int(&message);
				outcome.rejected = get_int(&message);
				outcome.erased = get_int(&message);
				outcome.bytes = get_int(&message);
				outcome.elapsed = get_int(&message);
				outcome.download = get_int(&message);
				outcome.insert = get_int(&message);
				source->load->job->report(source->load->job->arg, &outcome);
			}
			source->load->elapsed = GetCurrentTimestamp() - source->begun;
			break;

		case MESSAGE_ERROR:
			error = palloc0(sizeof(ErrorData));
			error->elevel = ERROR;
			error->sqlerrcode = (int) get_int(&message);
			error->message = get_text(&message);
			error->detail = get_text(&message);
			error->hint = get_text(&message);
			error->context = get_text(&message);
			error->assoc_context = leader->context;
			note_error(leader, source, error);
			break;
	}
}

/* Only the first counts.  That of a source is told at once, for there may be no
 * other time. */
static void
note_error(Leader *leader, Source *source, ErrorData *error)
{
	source->load->elapsed = GetCurrentTimestamp() - source->begun;
	if (!stedi_concerns_source(error->sqlerrcode))
		leader->error = leader->error != NULL ? leader->error : error;
	else if (!source->load->failed)
	{
		source->load->failed = true;
		stedi_warn_source(source->load->job->source, error);
	}
}

/* Send objects to a worker: a part of its share of those of a source that are known
 * to be pending, within the bounds of a transaction.  False: it has gone, and what
 * is left of the source is the caller's. */
static bool
hand_batch(Leader *leader, Worker *worker, Source *source)
{
	const StediJob *job = source->load->job;
	int			share = stedi_worklist_known(source->worklist) / (BATCHES_AHEAD * alive(leader));
	int64		limit = Max(share, 1);
	int64		n = 0;
	int64		bytes = 0;
	char	   *last_key = NULL;
	bool		sent;
	StringInfoData head;
	StringInfoData objects;
	const StediObject *object;

	if (job->max_objects >= 0)
		limit = Min(limit, job->max_objects);

	initStringInfo(&objects);
	/* The limit keeps it to those that are known, so that nothing has to be listed. */
	while (n < limit && (object = stedi_worklist_peek(source->worklist)) != NULL &&
		   (n == 0 || job->max_bytes < 0 || bytes + (int64) object->size <= job->max_bytes))
	{
		put_text(&objects, object->key);
		put_text(&objects, object->etag);
		put_text(&objects, object->version_id);
		put_int(&objects, (int64) object->size);
		put_int(&objects, object->last_modified);
		bytes += (int64) object->size;
		n++;
		if (last_key != NULL)
			pfree(last_key);
		last_key = MemoryContextStrdup(leader->context, object->key);
		(void) stedi_worklist_next(source->worklist);
	}

	initStringInfo(&head);
	put_text(&head, job->source);
	put_text(&head, job->uri);
	put_int(&head, job->target);
	put_int(&head, job->on_error);
	put_int(&head, job->reject_limit);
	put_int(&head, job->compression);
	put_int(&head, VARSIZE(job->aliases));
	appendBinaryStringInfo(&head, (const char *) job->aliases, VARSIZE(job->aliases));
	put_int(&head, n);
	appendBinaryStringInfo(&head, objects.data, objects.len);

	sent = shm_mq_send(worker->batches, head.len, head.data, false, true) == SHM_MQ_SUCCESS;
	if (sent)
	{
		worker->busy = true;
		worker->source = source;
		if (source->load->last_key != NULL)
			pfree(source->load->last_key);
		source->load->last_key = last_key;
	}
	else
	{
		worker->gone = true;
		leader->next_source++;
	}
	pfree(head.data);
	pfree(objects.data);
	return sent;
}

/* There is nothing more to do for them. */
static void
finish_workers(Leader *leader)
{
	for (int i = 0; i < leader->n_workers; i++)
		shm_mq_detach(leader->workers[i].batches);
	for (int i = 0; i < leader->n_workers; i++)
		(void) WaitForBackgroundWorkerShutdown(leader->workers[i].handle);
	if (leader->segment != NULL)
		dsm_detach(leader->segment);
	leader->segment = NULL;
}

/* The leader gives up.  Its locks must outlast the workers. */
static void
stop_workers(int code, Datum arg)
{
	Leader	   *leader = (Leader *) DatumGetPointer(arg);

	HOLD_INTERRUPTS();
	for (int i = 0; i < leader->n_workers; i++)
		TerminateBackgroundWorker(leader->workers[i].handle);
	for (int i = 0; i < leader->n_workers; i++)
		(void) WaitForBackgroundWorkerShutdown(leader->workers[i].handle);
	if (leader->segment != NULL)
		dsm_detach(leader->segment);
	leader->segment = NULL;
	RESUME_INTERRUPTS();
}

/* The worker. */
void
stedi_worker_main(Datum main_arg)
{
	dsm_segment *segment;
	shm_toc    *toc;
	Shared	   *shared;
	char	   *queues;
	shm_mq	   *queue;
	shm_mq_handle *batches;
	shm_mq_handle *results;
	WorkerLake	lake = {0};
	StringInfoData ready;
	int			number;
	Size		length;
	void	   *batch;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment == NULL)
		return;					/* the leader has ended */
	toc = shm_toc_attach(MAGIC, dsm_segment_address(segment));
	shared = shm_toc_lookup(toc, KEY_SHARED, false);
	memcpy(&number, MyBgworkerEntry->bgw_extra, sizeof(number));
	queues = (char *) shm_toc_lookup(toc, KEY_QUEUES, false) + 2 * QUEUE_SIZE * (Size) number;

	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "stedi worker", ALLOCSET_DEFAULT_SIZES));
	lake.context = AllocSetContextCreate(TopMemoryContext, "stedi worker lake", ALLOCSET_DEFAULT_SIZES);
	queue = (shm_mq *) queues;
	shm_mq_set_receiver(queue, MyProc);
	batches = shm_mq_attach(queue, segment, NULL);
	queue = (shm_mq *) (queues + QUEUE_SIZE);
	shm_mq_set_sender(queue, MyProc);
	results = shm_mq_attach(queue, segment, NULL);

	/* Before the first lock. */
	if (!BecomeLockGroupMember(shared->leader, (int) shared->leader_pid))
		return;
	initStringInfo(&ready);
	put_int(&ready, MESSAGE_READY);
	BackgroundWorkerInitializeConnectionByOid(shared->database, shared->session_user, 0);
	StartTransactionCommand();
	RestoreGUCState(shm_toc_lookup(toc, KEY_SETTINGS, false));
	CommitTransactionCommand();

	pgstat_report_activity(STATE_IDLE, NULL);
	if (shm_mq_send(results, ready.len, ready.data, false, true) != SHM_MQ_SUCCESS)
		return;
	while (shm_mq_receive(batches, &length, &batch, false) == SHM_MQ_SUCCESS)
	{
		if (!load_batch(shared, &lake, batch, results))
			return;
	}
}

/* Load a batch and tell what became of it.  False: this was the last one. */
static bool
load_batch(const Shared *shared, WorkerLake *lake, char *batch, shm_mq_handle *results)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "stedi batch",
												  ALLOCSET_DEFAULT_SIZES);
	StringInfoData outcomes;
	StringInfoData message;
	StediJob	job = {0};
	StediObject *objects;
	int64		n;
	volatile bool good = true;

	MemoryContextSwitchTo(context);
	initStringInfo(&message);
	initStringInfo(&outcomes);
	job.source = get_text(&batch);
	job.uri = get_text(&batch);
	job.target = (Oid) get_int(&batch);
	job.on_error = (StediOnError) get_int(&batch);
	job.reject_limit = get_int(&batch);
	job.compression = (StediCompression) get_int(&batch);
	n = get_int(&batch);
	job.aliases = memcpy(palloc(n), batch, n);
	batch += n;
	n = get_int(&batch);
	objects = palloc0(sizeof(StediObject) * n);
	for (int64 i = 0; i < n; i++)
	{
		objects[i].key = get_text(&batch);
		objects[i].etag = get_text(&batch);
		objects[i].version_id = get_text(&batch);
		objects[i].size = (uint64) get_int(&batch);
		objects[i].last_modified = get_int(&batch);
	}
	job.objects = objects;
	job.n_objects = (int) n;
	job.max_objects = -1;
	job.max_bytes = -1;
	job.report = note_outcome;
	job.arg = &outcomes;

	pgstat_report_activity(STATE_RUNNING, psprintf("stedi.run(): loading %d objects of source %s",
												   job.n_objects, job.source));
	PG_TRY();
	{
		Relation	rel;

		/* A transaction that fails goes back to the user that it began with. */
		SetUserIdAndSecContext(shared->current_user, 0);
		StartTransactionCommand();
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());

		rel = try_table_open(job.target, RowExclusiveLock);
		if (rel == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("the target was dropped while it was loaded")));
		if (!stedi_takes_multi_insert(rel))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" was altered while it was loaded", RelationGetRelationName(rel)),
					 errhint("Run it again; what is loaded stays.")));
		table_close(rel, NoLock);

		job.lake = open_lake(lake, job.uri);
		stedi_run_job(&job);

		PopActiveSnapshot();
		SPI_finish();
		CommitTransactionCommand();
		MemoryContextSwitchTo(context);
		put_int(&message, MESSAGE_OUTCOMES);
		put_int(&message, n);
		appendBinaryStringInfo(&message, outcomes.data, outcomes.len);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		close_lake(lake);
		MemoryContextSwitchTo(context);
		good = stedi_concerns_source(error->sqlerrcode);
		put_int(&message, MESSAGE_ERROR);
		put_int(&message, error->sqlerrcode);
		put_text(&message, error->message);
		put_text(&message, error->detail);
		put_text(&message, error->hint);
		put_text(&message, error->context);
	}
	PG_END_TRY();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);

	good = shm_mq_send(results, message.len, message.data, false, true) == SHM_MQ_SUCCESS && good;
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);
	return good;
}

/* That of the batch before, if it is the same. */
static StediLake *
open_lake(WorkerLake *lake, const char *uri)
{
	MemoryContext old;

	if (lake->lake != NULL && strcmp(lake->uri, uri) == 0)
		return lake->lake;
	close_lake(lake);
	old = MemoryContextSwitchTo(lake->context);
	lake->uri = pstrdup(uri);
	lake->lake = stedi_lake_open(uri, STEDI_READ, false);
	MemoryContextSwitchTo(old);
	return lake->lake;
}

static void
close_lake(WorkerLake *lake)
{
	lake->lake = NULL;
	/* It is closed with its memory. */
	MemoryContextReset(lake->context);
}

static void
note_outcome(void *arg, const StediOutcome *outcome)
{
	StringInfo	outcomes = arg;

	put_text(outcomes, outcome->uri);
	put_text(outcomes, outcome->status);
	put_text(outcomes, outcome->first_error);
	put_int(outcomes, outcome->parsed);
	put_int(outcomes, outcome->loaded);
	put_int(outcomes, outcome->rejected);
	put_int(outcomes, outcome->erased);
	put_int(outcomes, outcome->bytes);
	put_int(outcomes, outcome->elapsed);
	put_int(outcomes, outcome->download);
	put_int(outcomes, outcome->insert);
}

/* Messages stay on this machine: numbers as they are, texts with a length. */
static void
put_int(StringInfo message, int64 number)
{
	appendBinaryStringInfo(message, (const char *) &number, sizeof(number));
}

static void
put_text(StringInfo message, const char *text)
{
	put_int(message, text != NULL ? (int64) strlen(text) : -1);
	if (text != NULL)
		appendBinaryStringInfo(message, text, (int) strlen(text));
}

static int64
get_int(char **message)
{
	int64		number;

	memcpy(&number, *message, sizeof(number));
	*message += sizeof(number);
	return number;
}

/* palloc'd, or NULL */
static char *
get_text(char **message)
{
	int64		length = get_int(message);
	char	   *text;

	if (length < 0)
		return NULL;
	text = pnstrdup(*message, length);
	*message += length;
	return text;
}
