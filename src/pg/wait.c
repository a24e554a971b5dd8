/*
 * wait.c
 *		Waiting inside a backend: the store's waiter.
 *
 * The store waits here for its one epoll descriptor, and so does the backend
 * for its latch and for the postmaster's death.  An interrupt may raise an
 * error, but the store's frames must not be jumped over; so the error is caught,
 * the store unwinds with STEDI_CANCELLED, and stedi_lake_fail() throws it again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/wait.h"

static bool backend_wait(void *arg, int fd, long timeout_ms);
static void wait_for(StediBackendWait *wait, int fd, long timeout_ms);

void
stedi_wait_init(StediBackendWait *wait)
{
	wait->set = NULL;
	wait->fd = -1;
	wait->error = NULL;
	wait->deadline = 0;
	wait->context = CurrentMemoryContext;
}

StediWaiter
stedi_waiter(StediBackendWait *wait)
{
	StediWaiter waiter = {backend_wait, wait};

	return waiter;
}

void
stedi_wait_free(StediBackendWait *wait)
{
	if (wait->set != NULL)
		FreeWaitEventSet(wait->set);
	wait->set = NULL;
}

static bool
backend_wait(void *arg, int fd, long timeout_ms)
{
	StediBackendWait *wait = arg;

	if (wait->error != NULL)
		return false;
	if (wait->deadline != 0 && GetCurrentTimestamp() >= wait->deadline)
		return false;

	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
		/* what is closed leaves an epoll set, and its number may come back */
		if (fd < 0 && wait->fd >= 0)
			stedi_wait_free(wait);
		if (fd >= 0 || timeout_ms != 0)
			wait_for(wait, fd, timeout_ms);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(wait->context);
		wait->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	return wait->error == NULL;
}

static void
wait_for(StediBackendWait *wait, int fd, long timeout_ms)
{
	WaitEvent	event;
	int			happened;

	if (wait->set == NULL || wait->fd != fd)
	{
		stedi_wait_free(wait);
		wait->set = StediCreateWaitEventSet(3);
		AddWaitEventToSet(wait->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(wait->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		if (fd >= 0)
			AddWaitEventToSet(wait->set, WL_SOCKET_READABLE, fd, NULL, NULL);
		wait->fd = fd;
	}

	if (wait->deadline != 0)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait->deadline);

		timeout_ms = timeout_ms < 0 ? left : Min(timeout_ms, left);
	}
	happened = WaitEventSetWait(wait->set, timeout_ms, &event, 1, PG_WAIT_EXTENSION);
	if (happened == 1 && event.events == WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
stedi_wait_limit(StediBackendWait *wait, long timeout_ms)
{
	wait->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
}
