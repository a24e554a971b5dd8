/*
 * credentials_process.c
 *		Credentials that a program writes: the setting credential_process.
 *
 * The command line is split into words and started without a shell, so that
 * nothing in it is expanded or substituted.  The program is in a process group
 * of its own, with default signal handling, /dev/null for input and messages,
 * and no descriptor of ours but the pipe.  It is always waited for, and killed
 * with its group when it is of no use any more; also when this process exits.
 *
 * Source: AWS SDKs and Tools Reference Guide, "Process credential provider".
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/credentials_internal.h"

#define PROCESS_TIMEOUT_MS	(60 * 1000)
#define EXIT_POLL_MS		10	/* between the end of output and the exit */

extern char **environ;

static pid_t under_way = 0;		/* the program that runs; 0: none */

static int	start_program(char **words, int output, pid_t *pid);
static bool read_output(int fd, const StediWaiter *waiter, StediBytes *output,
						StediStatus *status);
static bool wait_for_exit(pid_t pid, const StediWaiter *waiter, int *exit_status,
						  StediStatus *status);
static bool kill_at_exit(void);
static void kill_under_way(void);
static void kill_program(pid_t pid);

Finding
stedi_credentials_process(CredentialSearch *search, const char *place, const char *command,
						  StediCredentials *found)
{
	StediDeadline deadline;
	StediWaiter waiter;
	StediStatus status = {0};
	StediBytes	output;
	char	  **words = stedi_split_words(command, &status);
	int			ends[2];
	int			exit_status = 0;
	int			version;
	int			failure;
	pid_t		pid;
	bool		done;
	const char *why;

	if (words == NULL)
		return status.code == STEDI_NO_MEMORY ? stedi_search_no_memory(search) :
			stedi_search_fail(search, place, "its credential_process cannot be split into words");
	if (!kill_at_exit())
	{
		stedi_words_free(words);
		return stedi_search_no_memory(search);
	}
	if (pipe2(ends, O_CLOEXEC) != 0)
	{
		stedi_words_free(words);
		return stedi_search_fail(search, place, "could not make a pipe: %s", strerror(errno));
	}
	failure = start_program(words, ends[1], &pid);
	stedi_words_free(words);
	close(ends[1]);
	if (failure != 0)
	{
		close(ends[0]);
		return stedi_search_fail(search, place, "could not start its credential_process: %s",
								 strerror(failure));
	}

	under_way = pid;
	/* our end alone: the program need not expect that a write is put off */
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	waiter = stedi_deadline_start(&deadline, search->waiter, PROCESS_TIMEOUT_MS);
	stedi_bytes_init(&output, CREDENTIAL_REPLY_LIMIT);
	done = read_output(ends[0], &waiter, &output, &status) &&
		wait_for_exit(pid, &waiter, &exit_status, &status);
	if (!done)
		kill_program(pid);
	under_way = 0;
	close(ends[0]);
	stedi_waiter_forget(search->waiter);

	if (!done)
	{
		stedi_bytes_wipe(&output);
		if (status.code == STEDI_CANCELLED && !deadline.has_passed)
		{
			*search->status = status;
			return FINDING_FAILED;
		}
		return stedi_search_fail(search, place, "its credential_process %s", deadline.has_passed ?
								 "did not end in time" : status.message);
	}
	if (!WIFEXITED(exit_status) || WEXITSTATUS(exit_status) != 0)
	{
		stedi_bytes_wipe(&output);
		if (WIFEXITED(exit_status))
			return stedi_search_fail(search, place, "its credential_process ended with status %d",
									 WEXITSTATUS(exit_status));
		return stedi_search_fail(search, place, "its credential_process was ended by a signal");
	}
	why = stedi_credentials_parse(output.data, output.length, &version, found);
	stedi_bytes_wipe(&output);
	if (why == NULL && version != 1)
	{
		stedi_credentials_free(found);
		why = "the reply has no \"Version\": 1";
	}
	if (why != NULL)
		return stedi_search_fail(search, place, "its credential_process: %s", why);
	return stedi_search_found(search, place, found, "%s, credential_process", place);
}

/* An errno, or 0. */
static int
start_program(char **words, int output, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t	none;
	sigset_t	all;
	int			failure;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&actions) != 0)
		return ENOMEM;
	if (posix_spawnattr_init(&attributes) != 0)
	{
		posix_spawn_file_actions_destroy(&actions);
		return ENOMEM;
	}
	failure = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (failure == 0)
		failure = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	if (failure == 0)
		failure = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	/* not all that the process has open need be close-on-exec */
	if (failure == 0)
		failure = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	if (failure == 0)
		failure = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
										   POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (failure == 0)
		failure = posix_spawnattr_setsigmask(&attributes, &none);
	if (failure == 0)
		failure = posix_spawnattr_setsigdefault(&attributes, &all);
	if (failure == 0)
		failure = posix_spawnattr_setpgroup(&attributes, 0);
	if (failure == 0)
		failure = posix_spawnp(pid, words[0], &actions, &attributes, words, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return failure;
}

/* All that comes until the pipe is closed. */
static bool
read_output(int fd, const StediWaiter *waiter, StediBytes *output, StediStatus *status)
{
	for (;;)
	{
		ssize_t		got;

		/* room first, so that no copy of a secret is left in a buffer in between */
		if (!stedi_bytes_reserve(output, CREDENTIAL_REPLY_LIMIT - output->length))
			return stedi_no_memory(status);
		if (output->length == CREDENTIAL_REPLY_LIMIT)
			return stedi_status_set(status, STEDI_LIMIT, "wrote too much");
		got = read(fd, output->data + output->length, CREDENTIAL_REPLY_LIMIT - output->length);
		if (got == 0)
			return true;
		if (got > 0)
			output->length += (size_t) got;
		else if (errno == EAGAIN)
		{
			if (!stedi_waiter_wait(waiter, fd, -1, status))
				return false;
		}
		else if (errno != EINTR)
			return stedi_status_set(status, STEDI_IO, "could not be read: %s", strerror(errno));
	}
}

static bool
wait_for_exit(pid_t pid, const StediWaiter *waiter, int *exit_status, StediStatus *status)
{
	for (;;)
	{
		pid_t		ended = waitpid(pid, exit_status, WNOHANG);

		if (ended == pid)
			return true;
		if (ended < 0 && errno != EINTR)
			return stedi_status_set(status, STEDI_IO, "could not be waited for: %s", strerror(errno));
		if (!stedi_waiter_wait(waiter, -1, EXIT_POLL_MS, status))
			return false;
	}
}

/* A waiter may end the process instead of returning.  False: no memory. */
static bool
kill_at_exit(void)
{
	static bool registered = false;

	if (!registered)
		registered = atexit(kill_under_way) == 0;
	return registered;
}

static void
kill_under_way(void)
{
	if (under_way != 0)
		kill_program(under_way);
}

/* Until it is waited for, its number and its group's are its own. */
static void
kill_program(pid_t pid)
{
	siginfo_t	info;

	if (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
		return;
	kill(-pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
