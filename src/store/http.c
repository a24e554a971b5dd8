/*
 * http.c
 *		HTTP transfers on libcurl's multi interface, with waiting injected.
 *
 * libcurl tells which sockets it watches; they are registered in an epoll
 * descriptor of the engine's own, and that one descriptor is what the injected
 * waiter watches, so that a waiter needs to know nothing about transfers.
 *
 * All signals are blocked while libcurl runs: it may start a thread that
 * resolves a name, and a thread that inherits an open signal mask would run the
 * process's signal handlers.
 */
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "store/http.h"
#include "store/store_internal.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is required (CURLOPT_QUICK_EXIT)"
#endif

/* At several hundred MB/s, one read per 512 kB keeps system calls negligible. */
#define TRANSFER_BUFFER_SIZE	(512 * 1024)
/* S3 error documents are below 2 kB; more is somebody else's error page. */
#define ERROR_BODY_LIMIT		(64 * 1024)
#define EVENTS_PER_RUN			32
/* A server that sends less than this in the idle time-out might as well be silent. */
#define LEAST_PROGRESS			1024
/* While bytes keep coming nobody waits; a cancel must get through all the same. */
#define ASK_WAITER_EVERY_MS		20

struct StediHttp
{
	CURLM	   *multi;
	int			epoll_fd;
	char	   *user_agent;
	char	   *ca_file;
	char	   *proxy;
	long		connect_timeout_ms;
	long		idle_timeout_ms;
	int			max_connections;

	StediHttpTransfer *first;	/* queued and running, in the order of their start */
	StediHttpTransfer *last;
	int64_t		timer_at;		/* when libcurl wants to run; -1: not before an event */
	int64_t		start_at;		/* when the next delayed transfer is due; INT64_MAX: none */
	int64_t		asked_at;		/* when the waiter was asked last */
	bool		head_came;		/* in the current call of libcurl */

	/*
	 * Milliseconds spent inside of stedi_http_step().  Idle time is measured
	 * on this clock: when the caller is busy elsewhere nothing can move, and
	 * that is not the server's fault.
	 */
	int64_t		clock;
};

static bool init_libcurl(void);
static void block_signals(sigset_t *saved);
static void restore_signals(const sigset_t *saved);
static int64_t now_ms(void);
static bool copy_config(StediHttp *http, const StediHttpConfig *config);
static bool step(StediHttp *http, const StediWaiter *waiter, bool may_wait,
				 StediStatus *status);
static bool run(StediHttp *http);
static void acknowledge(int fd);
static bool start_due(StediHttp *http);
static bool begin(StediHttp *http, StediHttpTransfer *transfer);
static bool set_options(StediHttp *http, StediHttpTransfer *transfer);
static bool check_idle(StediHttp *http);
static long next_timeout(const StediHttp *http);
static void finish(StediHttpTransfer *transfer, StediHttpError error);
static void release(StediHttpTransfer *transfer);
static StediHttpError classify(const StediHttpTransfer *transfer, CURLcode code);
static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg);
static int	on_timer(CURLM *multi, long timeout_ms, void *arg);
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose,
									struct curl_sockaddr *address);
static int	on_connected(void *arg, char *remote_ip, char *local_ip, int remote_port,
						 int local_port);
static size_t on_header(char *data, size_t one, size_t length, void *arg);
static size_t on_body(char *data, size_t one, size_t length, void *arg);
static size_t on_send(char *data, size_t one, size_t length, void *arg);

/* Once per process, and not before the process has something to transfer. */
static bool
init_libcurl(void)
{
	static bool initialised = false;

	if (!initialised)
		initialised = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	return initialised;
}

static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool
copy_config(StediHttp *http, const StediHttpConfig *config)
{
	http->connect_timeout_ms = config->connect_timeout_ms;
	http->idle_timeout_ms = config->idle_timeout_ms;
	http->max_connections = config->max_connections > 0 ? config->max_connections : 1;
	/* an empty string means "no proxy" to libcurl, NULL "ask the environment" */
	http->proxy = strdup(config->proxy ? config->proxy : "");
	if (config->user_agent != NULL)
		http->user_agent = strdup(config->user_agent);
	if (config->ca_file != NULL)
		http->ca_file = strdup(config->ca_file);
	return http->proxy != NULL &&
		(config->user_agent == NULL || http->user_agent != NULL) &&
		(config->ca_file == NULL || http->ca_file != NULL);
}

StediHttp *
stedi_http_open(const StediHttpConfig *config, StediStatus *status)
{
	StediHttp  *http = calloc(1, sizeof(*http));
	sigset_t	saved;
	bool		done;

	if (http == NULL)
	{
		stedi_no_memory(status);
		return NULL;
	}
	http->timer_at = -1;
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (http->epoll_fd < 0)
	{
		stedi_status_set(status, STEDI_IO, "could not create an epoll descriptor: %s",
						 strerror(errno));
		stedi_http_close(http);
		return NULL;
	}

	block_signals(&saved);
	done = init_libcurl() && (http->multi = curl_multi_init()) != NULL &&
		curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
		curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http) == CURLM_OK &&
		curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
		curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http) == CURLM_OK &&
		curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS,
						  (long) config->max_cached) == CURLM_OK;
	restore_signals(&saved);
	if (!done)
		stedi_status_set(status, STEDI_IO, "could not initialize libcurl");
	else if (!copy_config(http, config))
		done = stedi_no_memory(status);
	if (!done)
	{
		stedi_http_close(http);
		return NULL;
	}
	return http;
}

void
stedi_http_close(StediHttp *http)
{
	sigset_t	saved;

	if (http == NULL)
		return;
	block_signals(&saved);
	curl_multi_cleanup(http->multi);
	restore_signals(&saved);
	if (http->epoll_fd >= 0)
		close(http->epoll_fd);
	free(http->user_agent);
	free(http->ca_file);
	free(http->proxy);
	free(http);
}

void
stedi_http_start(StediHttp *http, StediHttpTransfer *transfer, long delay_ms)
{
	transfer->http = http;
	transfer->start_at = now_ms() + delay_ms;
	transfer->easy = NULL;
	transfer->next = NULL;
	transfer->prev = http->last;
	if (http->last != NULL)
		http->last->next = transfer;
	else
		http->first = transfer;
	http->last = transfer;
}

/* Give up the attempt's libcurl handle and take the transfer off the list. */
static void
release(StediHttpTransfer *transfer)
{
	StediHttp  *http = transfer->http;
	sigset_t	saved;

	if (transfer->easy != NULL)
	{
		block_signals(&saved);
		curl_multi_remove_handle(http->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
		restore_signals(&saved);
		transfer->easy = NULL;
	}
	curl_slist_free_all(transfer->header_list);
	transfer->header_list = NULL;

	if (transfer->prev != NULL)
		transfer->prev->next = transfer->next;
	else
		http->first = transfer->next;
	if (transfer->next != NULL)
		transfer->next->prev = transfer->prev;
	else
		http->last = transfer->prev;
	transfer->http = NULL;
}

void
stedi_http_stop(StediHttpTransfer *transfer)
{
	if (transfer->http != NULL)
		release(transfer);
}

void
stedi_http_hurry(StediHttpTransfer *transfer)
{
	transfer->may_queue = false;
}

void
stedi_http_unpause(StediHttpTransfer *transfer)
{
	sigset_t	saved;

	if (transfer->http == NULL || transfer->easy == NULL || !transfer->paused)
		return;
	transfer->paused = false;
	transfer->moved = true;		/* idle time begins now */
	block_signals(&saved);
	curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
	restore_signals(&saved);
}

bool
stedi_http_step(StediHttp *http, const StediWaiter *waiter, StediStatus *status)
{
	return step(http, waiter, true, status);
}

bool
stedi_http_poll(StediHttp *http, const StediWaiter *waiter, StediStatus *status)
{
	return step(http, waiter, false, status);
}

static bool
step(StediHttp *http, const StediWaiter *waiter, bool may_wait, StediStatus *status)
{
	int64_t		entered = now_ms();
	bool		moved = run(http);
	int64_t		now = now_ms();
	bool		go_on = true;

	if (!moved && may_wait)
		go_on = stedi_waiter_wait(waiter, http->epoll_fd, next_timeout(http), status);
	else if (now - http->asked_at >= ASK_WAITER_EVERY_MS)
		go_on = stedi_waiter_wait(waiter, -1, 0, status);
	else
	{
		http->clock += now - entered;
		return true;
	}
	now = now_ms();
	http->asked_at = now;
	http->clock += now - entered;
	return go_on;
}

bool
stedi_http_parse_date(const char *text, time_t *seconds)
{
	*seconds = curl_getdate(text, NULL);
	return *seconds != (time_t) -1;
}

/* Let libcurl do what it can do now.  True: something happened. */
static bool
run(StediHttp *http)
{
	struct epoll_event events[EVENTS_PER_RUN];
	bool		moved = start_due(http);
	sigset_t	saved;
	CURLMsg    *message;
	int			running;
	int			n;

	block_signals(&saved);
	n = epoll_wait(http->epoll_fd, events, EVENTS_PER_RUN, 0);
	for (int i = 0; i < n; i++)
	{
		int			mask = 0;

		if (events[i].events & EPOLLIN)
			mask |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			mask |= CURL_CSELECT_OUT;
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_ERR;
		http->head_came = false;
		curl_multi_socket_action(http->multi, events[i].data.fd, mask, &running);
		if (http->head_came)
			acknowledge(events[i].data.fd);
		moved = true;
	}
	if (http->timer_at >= 0 && now_ms() >= http->timer_at)
	{
		http->timer_at = -1;
		curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		moved = true;
	}
	restore_signals(&saved);

	while ((message = curl_multi_info_read(http->multi, &n)) != NULL)
	{
		StediHttpTransfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		if (transfer->sent_twice || message->data.result == CURLE_SEND_FAIL_REWIND)
			snprintf(transfer->error_text, sizeof(transfer->error_text),
					 "a kept connection was closed");
		/* What libcurl 8 says of it repeats what the server sent. */
		else if (message->data.result == CURLE_BAD_CONTENT_ENCODING)
			snprintf(transfer->error_text, sizeof(transfer->error_text), "%s",
					 curl_easy_strerror(message->data.result));
		finish(transfer, classify(transfer, message->data.result));
		moved = true;
	}
	return check_idle(http) || moved;
}

/*
 * A server that sends head and body apart, without TCP_NODELAY, waits between
 * them for our acknowledgement, which the kernel likes to delay by 40 ms: that
 * would be most of the time a small object takes.
 */
static void
acknowledge(int fd)
{
	int			on = 1;

	/* no TCP socket, or closed meanwhile: nothing to acknowledge */
	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

/* Begin the transfers whose time has come and that need not queue. */
static bool
start_due(StediHttp *http)
{
	int64_t		now = now_ms();
	StediHttpTransfer *transfer;
	bool		began = false;
	int			under_way = 0;

	for (transfer = http->first; transfer != NULL; transfer = transfer->next)
		under_way += transfer->may_queue && transfer->easy != NULL;

	/* one that is due but queues starts when another ends: that wakes us */
	http->start_at = INT64_MAX;
	transfer = http->first;
	while (transfer != NULL)
	{
		StediHttpTransfer *next = transfer->next;

		if (transfer->easy == NULL && transfer->start_at > now)
		{
			if (transfer->start_at < http->start_at)
				http->start_at = transfer->start_at;
		}
		else if (transfer->easy == NULL &&
				 (!transfer->may_queue || under_way < http->max_connections))
		{
			under_way += transfer->may_queue;
			began = true;
			if (!begin(http, transfer))
			{
				/* finished may have started or stopped others: begin again */
				finish(transfer, STEDI_HTTP_NO_MEMORY);
				return true;
			}
		}
		transfer = next;
	}
	return began;
}

static bool
begin(StediHttp *http, StediHttpTransfer *transfer)
{
	sigset_t	saved;
	bool		done;

	memset(&transfer->reply, 0, sizeof(transfer->reply));
	transfer->reply.content_length = -1;
	transfer->error_text[0] = '\0';
	transfer->status = 0;
	transfer->sent = 0;
	transfer->moved_bytes = 0;
	transfer->connected = false;
	transfer->sent_twice = false;
	transfer->moved = false;
	transfer->paused = false;
	transfer->refused = false;
	transfer->too_large = false;
	transfer->moved_at = http->clock;
	stedi_bytes_free(&transfer->body);
	stedi_bytes_init(&transfer->body, transfer->reply_limit > ERROR_BODY_LIMIT ?
					 transfer->reply_limit : ERROR_BODY_LIMIT);

	if (!transfer->prepare(transfer))
		return false;
	block_signals(&saved);
	transfer->easy = curl_easy_init();
	done = transfer->easy != NULL && set_options(http, transfer) &&
		curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK;
	restore_signals(&saved);
	return done;
}

static bool
set_options(StediHttp *http, StediHttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;
	struct curl_slist *list = NULL;
	bool		sends = strcmp(transfer->method, "PUT") == 0 ||
		strcmp(transfer->method, "POST") == 0;
	bool		done = true;

/* Only running out of memory can fail here, but that can. */
#define SET(option, value) \
	(done = done && curl_easy_setopt(easy, option, value) == CURLE_OK)

	for (int i = 0; i < transfer->n_headers; i++)
	{
		StediBytes	line;
		struct curl_slist *longer = NULL;

		stedi_bytes_init(&line, 0);
		if (stedi_bytes_printf(&line, "%s: %s", transfer->headers[i].name,
							   transfer->headers[i].value))
			longer = curl_slist_append(list, line.data);
		stedi_bytes_free(&line);
		if (longer == NULL)
			return false;		/* release() frees what there is */
		list = longer;
		transfer->header_list = list;
	}

	SET(CURLOPT_PRIVATE, (void *) transfer);
	SET(CURLOPT_URL, transfer->url);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_HTTPHEADER, list);
	SET(CURLOPT_USERAGENT, http->user_agent);
	SET(CURLOPT_PROXY, http->proxy);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (http->ca_file != NULL)
		SET(CURLOPT_CAINFO, http->ca_file);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);	/* closing never waits for the resolver */
	SET(CURLOPT_NOPROGRESS, 1L);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_BUFFERSIZE, (long) TRANSFER_BUFFER_SIZE);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, (long) TRANSFER_BUFFER_SIZE);
	SET(CURLOPT_CONNECTTIMEOUT_MS, http->connect_timeout_ms);
	SET(CURLOPT_ERRORBUFFER, transfer->error_text);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_PREREQFUNCTION, on_connected);
	SET(CURLOPT_PREREQDATA, (void *) transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, (void *) transfer);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, (void *) transfer);
	if (sends)
	{
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t) transfer->request_length);
		SET(CURLOPT_READFUNCTION, on_send);
		SET(CURLOPT_READDATA, (void *) transfer);
	}
	if (strcmp(transfer->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, transfer->method);
#undef SET
	return done;
}

/* Fail a transfer that has made no progress for too long.  True: there was one. */
static bool
check_idle(StediHttp *http)
{
	StediHttpTransfer *transfer;
	StediHttpTransfer *idle = NULL;

	for (transfer = http->first; transfer != NULL; transfer = transfer->next)
	{
		if (transfer->moved ||
			transfer->moved_bytes >= (transfer->may_trickle ? 1 : LEAST_PROGRESS))
		{
			transfer->moved_at = http->clock;
			transfer->moved_bytes = 0;
		}
		transfer->moved = false;
		/* until it is connected, libcurl's own time-out holds */
		if (idle == NULL && transfer->easy != NULL && transfer->connected &&
			!transfer->paused && http->idle_timeout_ms > 0 &&
			http->clock - transfer->moved_at >= http->idle_timeout_ms)
			idle = transfer;
	}
	if (idle == NULL)
		return false;
	snprintf(idle->error_text, sizeof(idle->error_text), "%zu bytes moved in %ld ms",
			 idle->moved_bytes, http->idle_timeout_ms);
	finish(idle, STEDI_HTTP_TIMED_OUT);
	return true;
}

/* How long the waiter may wait: -1 without limit. */
static long
next_timeout(const StediHttp *http)
{
	int64_t		at = http->start_at;
	int64_t		timeout;

	if (http->timer_at >= 0 && http->timer_at < at)
		at = http->timer_at;
	timeout = at < INT64_MAX ? at - now_ms() : INT64_MAX;
	for (StediHttpTransfer *transfer = http->first; transfer != NULL; transfer = transfer->next)
	{
		int64_t		left = transfer->moved_at + http->idle_timeout_ms - http->clock;

		if (transfer->easy != NULL && transfer->connected && !transfer->paused &&
			http->idle_timeout_ms > 0 && left < timeout)
			timeout = left;
	}
	if (timeout == INT64_MAX)
		return -1;
	return timeout > 0 ? (long) timeout : 0;
}

static void
finish(StediHttpTransfer *transfer, StediHttpError error)
{
	transfer->error = error;
	release(transfer);
	transfer->finished(transfer);
}

static StediHttpError
classify(const StediHttpTransfer *transfer, CURLcode code)
{
	/* curl_easy_pause() swallows the error of the callback it calls */
	if (transfer->refused)
		return STEDI_HTTP_REFUSED;
	if (transfer->too_large)
		return STEDI_HTTP_TOO_LARGE;
	if (transfer->sent_twice)
		return STEDI_HTTP_BROKEN;

	switch (code)
	{
		case CURLE_OK:
			return STEDI_HTTP_OK;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
			return STEDI_HTTP_UNRESOLVED;
		case CURLE_COULDNT_CONNECT:
		case CURLE_PROXY:
			return STEDI_HTTP_UNREACHABLE;
		case CURLE_SSL_CONNECT_ERROR:
			return STEDI_HTTP_TLS_FAILED;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
			return STEDI_HTTP_UNTRUSTED;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_SEND_FAIL_REWIND:
			return STEDI_HTTP_BROKEN;
		case CURLE_OPERATION_TIMEDOUT:
			return STEDI_HTTP_TIMED_OUT;
		case CURLE_OUT_OF_MEMORY:
		case CURLE_WRITE_ERROR:
			return STEDI_HTTP_NO_MEMORY;
		default:
			return STEDI_HTTP_INVALID;
	}
}

/*
 * Callbacks from libcurl.
 */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	StediHttp  *http = arg;
	struct epoll_event event = {.data.fd = fd};

	(void) easy;
	(void) socket_arg;
	if (what == CURL_POLL_REMOVE)
	{
		/* it may be closed, and so be gone, already */
		epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		event.events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		event.events |= EPOLLOUT;
	/* the head may have come before libcurl had to wait for it */
	acknowledge(fd);
	if (epoll_ctl(http->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
		return 0;
	return epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	StediHttp  *http = arg;

	(void) multi;
	http->timer_at = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	return 0;
}

/* A program that the process starts must not inherit the connection. */
static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void) arg;
	(void) purpose;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/*
 * Called before a request is sent.  A second time is when a kept connection broke
 * before the reply and libcurl would send the request again on another one.  But
 * the server may have got it, and an attempt is one request.
 */
static int
on_connected(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	StediHttpTransfer *transfer = arg;

	(void) remote_ip;
	(void) local_ip;
	(void) remote_port;
	(void) local_port;
	transfer->sent_twice = transfer->connected;
	transfer->connected = true;
	transfer->moved = true;
	return transfer->sent_twice ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static size_t
on_header(char *data, size_t one, size_t length, void *arg)
{
	StediHttpTransfer *transfer = arg;
	StediHttpHeaders *reply = &transfer->reply;
	const struct
	{
		const char *name;
		char	   *value;
		size_t		size;
	}			wanted[] = {
		{"etag", reply->etag, sizeof(reply->etag)},
		{"content-range", reply->content_range, sizeof(reply->content_range)},
		{"date", reply->date, sizeof(reply->date)},
		{"last-modified", reply->last_modified, sizeof(reply->last_modified)},
		{"retry-after", reply->retry_after, sizeof(reply->retry_after)},
		{"x-amz-bucket-region", reply->bucket_region, sizeof(reply->bucket_region)},
		{"x-amz-request-id", reply->request_id, sizeof(reply->request_id)},
		{"x-amz-server-side-encryption", reply->encryption, sizeof(reply->encryption)},
		{"x-amz-server-side-encryption-customer-algorithm", reply->customer_encryption,
		sizeof(reply->customer_encryption)},
		{"x-amz-meta-stedi-upload", reply->upload_mark, sizeof(reply->upload_mark)},
	};
	const char *colon;
	const char *value;
	const char *end = data + length;
	size_t		name_length;

	(void) one;
	transfer->moved_bytes += length;
	if (length >= 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		transfer->moved = true;
		/* a final reply after an interim one */
		memset(reply, 0, sizeof(*reply));
		reply->content_length = -1;
		transfer->http->head_came = true;
		return length;
	}
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status);
	colon = memchr(data, ':', length);
	if (colon == NULL)
		return length;
	name_length = (size_t) (colon - data);
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
		;
	while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' ||
						   end[-1] == '\t'))
		end--;

	if (name_length == 14 && strncasecmp(data, "content-length", 14) == 0)
		reply->content_length = strtoll(value, NULL, 10);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
	{
		if (strlen(wanted[i].name) == name_length &&
			strncasecmp(data, wanted[i].name, name_length) == 0)
			snprintf(wanted[i].value, wanted[i].size, "%.*s", (int) (end - value), value);
	}
	return length;
}

static size_t
on_body(char *data, size_t one, size_t length, void *arg)
{
	StediHttpTransfer *transfer = arg;
	bool		success = transfer->status >= 200 && transfer->status < 300;
	size_t		limit = success ? transfer->reply_limit : ERROR_BODY_LIMIT;

	(void) one;
	transfer->moved_bytes += length;
	if (success && transfer->receive != NULL)
	{
		switch (transfer->receive(transfer, data, length))
		{
			case STEDI_HTTP_TAKEN:
				return length;
			case STEDI_HTTP_FULL:
				transfer->paused = true;
				return CURL_WRITEFUNC_PAUSE;
			case STEDI_HTTP_REFUSE:
				break;
		}
		transfer->refused = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (length > limit || transfer->body.length > limit - length)
	{
		/* of an error page, the beginning is enough */
		if (!success)
			return length;
		transfer->too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	return stedi_bytes_append(&transfer->body, data, length) ? length : CURL_WRITEFUNC_ERROR;
}

static size_t
on_send(char *data, size_t one, size_t length, void *arg)
{
	StediHttpTransfer *transfer = arg;
	size_t		left = transfer->request_length - transfer->sent;

	length *= one;
	if (length > left)
		length = left;
	if (length > 0)
		memcpy(data, (const char *) transfer->request_body + transfer->sent, length);
	transfer->sent += length;
	transfer->moved_bytes += length;
	return length;
}
