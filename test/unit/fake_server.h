/*
 * fake_server.h
 *		An HTTP server that misbehaves to order, for the unit tests.
 *
 * It is a thread of the test on a loopback port.  Each test gives it a handler,
 * which sees every request with its number, counted from 1, and answers as it
 * likes, each on its connection's own thread.
 */
#ifndef STEDI_TEST_FAKE_SERVER_H
#define STEDI_TEST_FAKE_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_SIZE	64

typedef struct Request
{
	int			number;			/* of this test, from 1 */
	char		text[8192];		/* request line and headers */
	size_t		body_length;
	char		body_md5[33];	/* in hexadecimal */
	char		body[2048];		/* its beginning */
} Request;

/* Answer on fd; false: close the connection. */
typedef bool (*Handler) (int fd, const Request *request);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Handler handler;			/* these five are protected by lock */
static int	n_requests;
static Request log_of[LOG_SIZE];
static int	hanging = -1;		/* a pipe: what hangs waits for it to close */
static int	release_hanging = -1;	/* its other end */

static int	listener;
static char endpoint[64];

static inline void
send_all(int fd, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t		sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		data += sent;
		length -= (size_t) sent;
	}
}

static inline void
send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

static inline bool
reply(int fd, const char *status, const char *headers, const char *text)
{
	char		head[1024];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nx-amz-request-id: REQ42\r\n%sContent-Length: %zu\r\n\r\n",
			 status, headers, strlen(text));
	send_text(fd, head);
	send_text(fd, text);
	return true;
}

static inline bool
reply_error(int fd, const char *status, const char *headers, const char *code)
{
	char		text[512];

	snprintf(text, sizeof(text), "<?xml version=\"1.0\"?><Error><Code>%s</Code>"
			 "<Message>so it is</Message></Error>", code);
	return reply(fd, status, headers, text);
}

static inline bool
hang(void)
{
	char		byte;

	/* returns when the test is over */
	if (read(hanging, &byte, 1) < 0)
		return false;
	return false;
}

static inline bool
has(const Request *request, const char *text)
{
	return strstr(request->text, text) != NULL;
}

static inline bool
is_method(const Request *request, const char *method)
{
	return strncmp(request->text, method, strlen(method)) == 0 &&
		request->text[strlen(method)] == ' ';
}

static inline bool
read_request(int fd, Request *request)
{
	size_t		length = 0;
	const char *stated;
	char		byte;
	EVP_MD_CTX *md5 = NULL;
	unsigned char digest[16];

	while (length < 4 || memcmp(request->text + length - 4, "\r\n\r\n", 4) != 0)
	{
		if (length + 1 >= sizeof(request->text) || recv(fd, &byte, 1, 0) != 1)
			return false;
		request->text[length++] = byte;
	}
	request->text[length] = '\0';
	stated = strcasestr(request->text, "\r\ncontent-length: ");
	request->body_length = stated != NULL ? strtoul(stated + 18, NULL, 10) : 0;
	if ((md5 = EVP_MD_CTX_new()) == NULL || !EVP_DigestInit_ex(md5, EVP_md5(), NULL))
		abort();
	length = 0;
	for (size_t left = request->body_length; left > 0;)
	{
		static _Thread_local char sink[65536];
		ssize_t		got = recv(fd, sink, left < sizeof(sink) ? left : sizeof(sink), 0);

		if (got <= 0)
		{
			EVP_MD_CTX_free(md5);
			return false;
		}
		EVP_DigestUpdate(md5, sink, (size_t) got);
		left -= (size_t) got;
		for (ssize_t i = 0; i < got && length + 1 < sizeof(request->body); i++)
			request->body[length++] = sink[i];
	}
	EVP_DigestFinal_ex(md5, digest, NULL);
	EVP_MD_CTX_free(md5);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(request->body_md5 + 2 * i, 3, "%02x", digest[i]);
	request->body[length] = '\0';
	return true;
}

static inline void *
serve_connection(void *arg)
{
	int			fd = (int) (intptr_t) arg;
	Request    *request = calloc(1, sizeof(*request));
	bool		go_on = true;

	while (go_on && read_request(fd, request))
	{
		Handler		current;

		pthread_mutex_lock(&lock);
		request->number = ++n_requests;
		if (n_requests <= LOG_SIZE)
			log_of[n_requests - 1] = *request;
		current = handler;
		pthread_mutex_unlock(&lock);
		go_on = current(fd, request);
	}
	close(fd);
	free(request);
	return NULL;
}

static inline void *
serve(void *arg)
{
	int			fd;

	(void) arg;
	while ((fd = accept(listener, NULL, NULL)) >= 0)
	{
		pthread_t	thread;

		if (pthread_create(&thread, NULL, serve_connection, (void *) (intptr_t) fd) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static inline void
start_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	pthread_t	thread;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 64) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0 ||
		pthread_create(&thread, NULL, serve, NULL) != 0)
		abort();
	pthread_detach(thread);
	snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d", ntohs(address.sin_port));
}

/* Give the server a new script. */
static inline void
start_script(Handler script)
{
	int			pipe_fds[2];

	if (pipe(pipe_fds) != 0)
		abort();
	pthread_mutex_lock(&lock);
	handler = script;
	n_requests = 0;
	hanging = pipe_fds[0];
	memset(log_of, 0, sizeof(log_of));
	pthread_mutex_unlock(&lock);
	release_hanging = pipe_fds[1];
}

/* Let go what hangs. */
static inline void
end_script(void)
{
	close(release_hanging);
}

/* Number of requests so far. */
static inline int
requests(void)
{
	int			n;

	pthread_mutex_lock(&lock);
	n = n_requests;
	pthread_mutex_unlock(&lock);
	return n;
}

/* Requests logged of a method whose head contains text. */
static inline int
count_requests(const char *method, const char *text)
{
	int			count = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < n_requests && i < LOG_SIZE; i++)
		count += is_method(&log_of[i], method) && has(&log_of[i], text);
	pthread_mutex_unlock(&lock);
	return count;
}

#endif							/* STEDI_TEST_FAKE_SERVER_H */
