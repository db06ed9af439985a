/* A load tool for SSH agents, small enough not to be the bottleneck of what it measures.
 *
 * P processes with one epoll loop each; a client is one connection at a time. Closed loop: a
 * client asks again when it has its answer. Open loop (--rate): requests are due at fixed moments
 * whether or not a client is free, and latency counts from the moment a request was due, so that
 * queueing shows. With --reconnect every request has a connection of its own and latency begins
 * before connect. All samples of the window go into one histogram (relative error below 0.1 %).
 *
 * SIGINT ends the window at once and prints what there is.
 *
 * Protocol: draft-miller-ssh-agent, messages 11 (list) and 13 (sign). Rule for editors: a request
 * that was due in the window ends as exactly one sample or one failure.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SUB_BITS 10 /* 1024 steps for each power of two */
#define SLOTS ((64 - SUB_BITS) << SUB_BITS)
#define MAX_REPLY (1 << 18)
#define MAX_PROCESSES 64
#define SWEEP_NS 20000000LL  /* how often time-outs are looked for */
#define PENALTY_NS 5000000LL /* a client rests so long after a failure */
#define RETRY_NS 200000LL    /* pause between attempts to connect to a full backlog */

enum failure { CONNECT, CONNECT_TIMEOUT, TIMEOUT, CLOSED, REFUSED, MALFORMED, UNSENT, IDLE_CLOSED, FAILURES };
static const char *failure_names[FAILURES] = {"connect", "connect_timeout", "timeout", "closed",
                                              "refused", "malformed", "unsent", "idle_closed"};

struct totals { /* one for each process, in shared memory; moments are on the monotonic clock */
	uint64_t samples, completed, failures[FAILURES], sum_ns, max_ns, min_ns, last_ns;
	int64_t failed_ns, gap_ns, gap_end_ns; /* last failure; longest time without an answer */
	uint64_t counts[SLOTS];
};

struct client {
	int fd;
	enum { RESTING, CONNECTING, READING } state;
	int is_waiting;
	int64_t due_ns, began_ns, rest_until_ns;
	uint32_t got, want;
};

struct queue { /* a ring */
	struct client **members;
	int head, count, size;
};

static struct {
	const char *path;
	int is_list, reconnect, clients, processes, idle;
	double duration_s, warmup_s, rate, ramp_s;
	uint64_t count;
	int64_t connect_timeout_ns, timeout_ns;
	uint8_t request[1 << 16];
	uint32_t request_bytes, data_at, data_bytes;
} opt = {.clients = 1, .processes = 1, .duration_s = 2, .warmup_s = 0.5,
         .connect_timeout_ns = 10000000000LL, .timeout_ns = 10000000000LL, .data_bytes = 64};

static struct totals *mine;
static int64_t begin_ns, window_ns, end_ns, due_next_ns;
static uint64_t issued, quota, serial;
static int poller, under_way;
static struct sockaddr_un address;
static struct queue resting, waiting;
static volatile sig_atomic_t interrupted;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(5);
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- the histogram ---- */

static uint32_t slot_of(uint64_t ns)
{
	int shift = ns >> SUB_BITS ? 63 - __builtin_clzll(ns) - SUB_BITS : -1;
	if (shift < 0)
		return ns;
	return ((uint32_t)(shift + 1) << SUB_BITS) + ((ns >> shift) & ((1 << SUB_BITS) - 1));
}

static uint64_t top_of(uint32_t slot) /* the largest value that a slot counts */
{
	uint32_t block = slot >> SUB_BITS, step = slot & ((1 << SUB_BITS) - 1);
	if (block == 0)
		return step;
	return (((uint64_t)(1 << SUB_BITS) + step + 1) << (block - 1)) - 1;
}

static void record(int64_t due, int64_t done)
{
	uint64_t ns = done > due ? done - due : 0;
	if (done >= window_ns && (opt.count || done < end_ns)) {
		int64_t gap = done - (int64_t)(mine->completed ? mine->last_ns : (uint64_t)window_ns);
		if (gap > mine->gap_ns) {
			mine->gap_ns = gap;
			mine->gap_end_ns = done;
		}
		mine->completed++;
		mine->last_ns = done;
	}
	if (due < window_ns || (!opt.count && due >= end_ns))
		return;
	mine->samples++;
	mine->sum_ns += ns;
	if (ns > mine->max_ns)
		mine->max_ns = ns;
	if (!mine->min_ns || ns < mine->min_ns)
		mine->min_ns = ns;
	mine->counts[slot_of(ns)]++;
}

/* ---- clients in two queues: at rest, and waiting because the backlog is full ---- */

static void put(struct queue *q, struct client *c)
{
	q->members[(q->head + q->count++) % q->size] = c;
}

static struct client *get(struct queue *q)
{
	struct client *c = q->members[q->head];
	q->head = (q->head + 1) % q->size;
	q->count--;
	return c;
}

static void rest(struct client *c, int64_t until_ns)
{
	under_way--;
	c->state = RESTING;
	c->rest_until_ns = until_ns;
	put(&resting, c);
}

static void drop(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void fail(struct client *c, enum failure why, int64_t now)
{
	if (now >= window_ns) {
		mine->failures[why]++;
		mine->failed_ns = now;
	}
	drop(c);
	rest(c, now + PENALTY_NS);
}

static void ask(struct client *c, int64_t now)
{
	if (!opt.is_list && opt.data_bytes >= 8) { /* no two requests sign the same data */
		uint64_t number = serial++;
		memcpy(opt.request + opt.data_at, &number, sizeof number);
	}
	ssize_t n = send(c->fd, opt.request, opt.request_bytes, MSG_NOSIGNAL);
	if (n != (ssize_t)opt.request_bytes) {
		fail(c, CLOSED, now);
		return;
	}
	c->state = READING;
	c->got = 0;
}

static int try_connect(struct client *c, int64_t now) /* 0: the backlog is full */
{
	if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) {
		if (errno == EAGAIN || errno == EINTR)
			return 0;
		fail(c, CONNECT, now);
		return 1;
	}
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
		die("epoll_ctl");
	ask(c, now);
	return 1;
}

static void start(struct client *c, int64_t now)
{
	under_way++;
	issued++;
	c->began_ns = now;
	if (c->fd >= 0) {
		ask(c, now);
		return;
	}
	c->state = CONNECTING;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail(c, CONNECT, now);
	else if (!c->is_waiting && (waiting.count || !try_connect(c, now))) {
		c->is_waiting = 1;
		put(&waiting, c);
	}
}

static void retry_connects(int64_t now)
{
	while (waiting.count) {
		struct client *c = waiting.members[waiting.head];
		if (c->state == CONNECTING && !try_connect(c, now))
			return;
		get(&waiting)->is_waiting = 0;
	}
}

static void take(struct client *c, int64_t now)
{
	static uint8_t buffer[MAX_REPLY];
	ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (c->state != READING) { /* closed, or spoken on, while nothing was asked */
		drop(c);
		return;
	}
	if (n <= 0) {
		fail(c, CLOSED, now);
		return;
	}
	if (c->got == 0) {
		if (n < 5 || buffer[4] != (opt.is_list ? 12 : 14)) {
			fail(c, n >= 5 && buffer[4] == 5 ? REFUSED : MALFORMED, now);
			return;
		}
		c->want = 4 + ((uint32_t)buffer[0] << 24 | buffer[1] << 16 | buffer[2] << 8 | buffer[3]);
	}
	c->got += n;
	if (c->got > c->want)
		fail(c, MALFORMED, now);
	else if (c->got == c->want) {
		record(c->due_ns, now_ns());
		if (opt.reconnect)
			drop(c);
		rest(c, 0);
	}
}

/* ---- one process ---- */

/* Whether every request of the run has been given to a client. */
static int all_issued(int64_t now)
{
	if (opt.count)
		return issued >= quota;
	return opt.rate > 0 ? due_next_ns >= end_ns : now >= end_ns;
}

static void give_out(int64_t now)
{
	for (int i = resting.count; i > 0 && !all_issued(now); i--) {
		if (opt.rate > 0 && due_next_ns > now)
			return;
		struct client *c = get(&resting);
		if (c->rest_until_ns > now) {
			put(&resting, c);
			continue;
		}
		c->due_ns = opt.rate > 0 ? due_next_ns : now;
		start(c, now);
		if (opt.rate > 0)
			due_next_ns = begin_ns + (int64_t)(issued * 1e9 / opt.rate);
	}
}

static void sweep(struct client *clients, int n, int64_t now)
{
	for (struct client *c = clients; c < clients + n; c++) {
		if (c->state == CONNECTING && now - c->began_ns > opt.connect_timeout_ns)
			fail(c, CONNECT_TIMEOUT, now);
		else if (c->state == READING && now - c->began_ns > opt.timeout_ns)
			fail(c, TIMEOUT, now);
	}
}

/* How long to sleep at most: time itself makes work where requests or connects are due. */
static struct timespec nap(int64_t now)
{
	int64_t ns = SWEEP_NS;
	if (waiting.count || (resting.count && opt.rate <= 0))
		ns = RETRY_NS;
	if (opt.rate > 0 && resting.count && due_next_ns - now < ns)
		ns = due_next_ns > now ? due_next_ns - now : 0;
	return (struct timespec){.tv_nsec = ns};
}

static int *hold_idle(int n)
{
	int *fds = calloc(n + 1, sizeof *fds);
	for (int i = 0; i < n; i++) { /* blocking, so a full backlog is waited for */
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&address, sizeof address))
			mine->failures[IDLE_CLOSED]++;
	}
	return fds;
}

static void check_idle(int *fds, int n)
{
	char byte;
	for (int i = 0; i < n; i++)
		if (fds[i] >= 0 && recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0)
			mine->failures[IDLE_CLOSED]++;
}

static void interrupt(int number)
{
	interrupted = number;
}

static void run_process(int n)
{
	struct client *clients = calloc(n, sizeof *clients);
	struct epoll_event events[512];
	int64_t now, swept = 0;
	resting = (struct queue){.members = calloc(n, sizeof *resting.members), .size = n};
	waiting = (struct queue){.members = calloc(n, sizeof *waiting.members), .size = n};
	poller = epoll_create1(EPOLL_CLOEXEC);
	prctl(PR_SET_TIMERSLACK, 1);
	due_next_ns = begin_ns;
	under_way = n;
	for (int i = 0; i < n; i++) {
		clients[i].fd = -1;
		rest(&clients[i], begin_ns + (int64_t)(opt.ramp_s * 1e9 * i / n));
	}
	while ((now = now_ns()) < end_ns + opt.timeout_ns && !(all_issued(now) && !under_way)) {
		if (interrupted && now < end_ns) { /* Ctrl-C ends the window here, not the run */
			end_ns = now;
			quota = issued;
		}
		give_out(now);
		retry_connects(now);
		struct timespec pause = nap(now);
		int ready = epoll_pwait2(poller, events, 512, &pause, NULL);
		now = now_ns();
		for (int i = 0; i < ready; i++)
			take(events[i].data.ptr, now);
		if (now - swept > SWEEP_NS) {
			sweep(clients, n, now);
			swept = now;
		}
	}
	for (int i = 0; i < n; i++)
		if (clients[i].state != RESTING)
			fail(&clients[i], clients[i].state == CONNECTING ? CONNECT_TIMEOUT : TIMEOUT, now);
	if (opt.rate > 0 && !opt.count && due_next_ns < end_ns)
		mine->failures[UNSENT] += (uint64_t)((end_ns - due_next_ns) / 1e9 * opt.rate);
}

/* ---- the whole run ---- */

static double cpu_of(const char *pids) /* seconds of user and system time, from /proc/PID/stat */
{
	double ticks = 0;
	char list[4096];
	snprintf(list, sizeof list, "%s", pids);
	for (char *pid = strtok(list, ","); pid; pid = strtok(NULL, ",")) {
		char name[64], text[2048];
		snprintf(name, sizeof name, "/proc/%s/stat", pid);
		FILE *file = fopen(name, "r");
		if (!file)
			continue;
		size_t n = fread(text, 1, sizeof text - 1, file);
		text[n] = 0;
		fclose(file);
		unsigned long user, kernel;
		char *after = strrchr(text, ')');
		if (after && sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		                    &user, &kernel) == 2)
			ticks += user + kernel;
	}
	return ticks / sysconf(_SC_CLK_TCK);
}

static void put32(uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		opt.request[opt.request_bytes++] = value >> shift;
}

static void build_request(const char *key_hex, uint32_t flags)
{
	uint32_t key_bytes = strlen(key_hex) / 2;
	if (opt.is_list) {
		put32(1);
		opt.request[opt.request_bytes++] = 11;
		return;
	}
	if (!key_bytes || key_bytes + opt.data_bytes + 64 > sizeof opt.request) {
		fprintf(stderr, "load: --key HEX (a public key blob) is needed, and it must fit\n");
		exit(2);
	}
	put32(1 + 4 + key_bytes + 4 + opt.data_bytes + 4);
	opt.request[opt.request_bytes++] = 13;
	put32(key_bytes);
	for (uint32_t i = 0; i < key_bytes; i++)
		sscanf(key_hex + 2 * i, "%2hhx", &opt.request[opt.request_bytes++]);
	put32(opt.data_bytes);
	opt.data_at = opt.request_bytes;
	opt.request_bytes += opt.data_bytes;
	put32(flags);
}

static double percentile_us(struct totals *t, double share)
{
	uint64_t rank = (uint64_t)(share * t->samples), seen = 0;
	if (rank < share * t->samples)
		rank++;
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if ((seen += t->counts[slot]) >= rank && seen)
			return (top_of(slot) < t->max_ns ? top_of(slot) : t->max_ns) / 1e3;
	return 0;
}

static void add(struct totals *sum, const struct totals *t)
{
	sum->samples += t->samples;
	sum->completed += t->completed;
	sum->sum_ns += t->sum_ns;
	if (t->max_ns > sum->max_ns)
		sum->max_ns = t->max_ns;
	if (t->min_ns && (!sum->min_ns || t->min_ns < sum->min_ns))
		sum->min_ns = t->min_ns;
	if (t->last_ns > sum->last_ns)
		sum->last_ns = t->last_ns;
	if (t->failed_ns > sum->failed_ns)
		sum->failed_ns = t->failed_ns;
	if (t->gap_ns > sum->gap_ns) {
		sum->gap_ns = t->gap_ns;
		sum->gap_end_ns = t->gap_end_ns;
	}
	for (int i = 0; i < FAILURES; i++)
		sum->failures[i] += t->failures[i];
	for (int i = 0; i < SLOTS; i++)
		sum->counts[i] += t->counts[i];
}

static void print_json(struct totals *t, double window_s, double load_cpu_s, double target_cpu_s)
{
	uint64_t failed = 0;
	for (int i = 0; i < FAILURES; i++)
		failed += t->failures[i];
	printf("{\"mode\": \"%s\", \"reconnect\": %s, \"loop\": \"%s\", \"rate_per_s\": %.3f,\n",
	       opt.is_list ? "list" : "sign", opt.reconnect ? "true" : "false",
	       opt.rate > 0 ? "open" : "closed", opt.rate * opt.processes);
	printf(" \"clients\": %d, \"processes\": %d, \"idle\": %d, \"window_s\": %.6f,\n",
	       opt.clients, opt.processes, opt.idle, window_s);
	printf(" \"completed\": %lu, \"samples\": %lu, \"throughput_per_s\": %.3f, \"failed\": %lu,\n",
	       t->completed, t->samples, t->completed / window_s, failed);
	printf(" \"failures\": {");
	for (int i = 0; i < FAILURES; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", failure_names[i], t->failures[i]);
	printf("},\n \"latency_us\": {\"min\": %.3f, \"mean\": %.3f, \"p50\": %.3f, \"p90\": %.3f, "
	       "\"p95\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f},\n",
	       t->min_ns / 1e3, t->samples ? t->sum_ns / 1e3 / t->samples : 0, percentile_us(t, .5),
	       percentile_us(t, .9), percentile_us(t, .95), percentile_us(t, .99),
	       percentile_us(t, .999), t->max_ns / 1e3);
	printf(" \"last_failure_s\": %.6f, \"longest_gap_ms\": %.3f, \"gap_ended_s\": %.6f,\n",
	       t->failed_ns / 1e9, t->gap_ns / 1e6, t->gap_end_ns / 1e9);
	printf(" \"load_cpu_s\": %.6f, \"target_cpu_s\": %.6f}\n", load_cpu_s, target_cpu_s);
}

static const char usage[] =
    "usage: load --socket PATH (--list | --key HEX) [--reconnect] [--clients N] [--processes P]\n"
    "            [--duration S | --count N] [--warmup S] [--rate PER_S] [--ramp S] [--idle N]\n"
    "            [--timeout MS] [--connect-timeout MS] [--data-bytes N] [--flags N] [--pids P,P]\n";

int main(int argc, char **argv)
{
	const char *key = "", *pids = "";
	uint32_t flags = 0;
	static const struct option options[] = {
	    {"socket", 1, 0, 's'},  {"list", 0, 0, 'l'},     {"key", 1, 0, 'k'},
	    {"reconnect", 0, 0, 'r'}, {"clients", 1, 0, 'c'}, {"processes", 1, 0, 'p'},
	    {"duration", 1, 0, 'd'}, {"count", 1, 0, 'n'},   {"warmup", 1, 0, 'w'},
	    {"rate", 1, 0, 'R'},    {"ramp", 1, 0, 'a'},     {"idle", 1, 0, 'i'},
	    {"timeout", 1, 0, 't'}, {"connect-timeout", 1, 0, 'T'}, {"data-bytes", 1, 0, 'b'},
	    {"flags", 1, 0, 'f'},   {"pids", 1, 0, 'P'},     {0}};
	for (int letter; (letter = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (letter) {
		case 's': opt.path = optarg; break;
		case 'l': opt.is_list = 1; break;
		case 'k': key = optarg; break;
		case 'r': opt.reconnect = 1; break;
		case 'c': opt.clients = atoi(optarg); break;
		case 'p': opt.processes = atoi(optarg); break;
		case 'd': opt.duration_s = atof(optarg); break;
		case 'n': opt.count = strtoull(optarg, NULL, 10); break;
		case 'w': opt.warmup_s = atof(optarg); break;
		case 'R': opt.rate = atof(optarg); break;
		case 'a': opt.ramp_s = atof(optarg); break;
		case 'i': opt.idle = atoi(optarg); break;
		case 't': opt.timeout_ns = atoll(optarg) * 1000000; break;
		case 'T': opt.connect_timeout_ns = atoll(optarg) * 1000000; break;
		case 'b': opt.data_bytes = atoi(optarg); break;
		case 'f': flags = strtoul(optarg, NULL, 10); break;
		case 'P': pids = optarg; break;
		default: fputs(usage, stderr); return 2;
		}
	if (!opt.path || optind < argc || opt.processes < 1 || opt.processes > MAX_PROCESSES ||
	    opt.clients < opt.processes || strlen(opt.path) >= sizeof address.sun_path) {
		fputs(usage, stderr);
		return 2;
	}
	if (opt.count)
		opt.warmup_s = 0;
	build_request(key, flags);
	signal(SIGINT, interrupt);
	address.sun_family = AF_UNIX;
	strcpy(address.sun_path, opt.path);
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	struct totals *all = mmap(NULL, (opt.processes + 1) * sizeof *all, PROT_READ | PROT_WRITE,
	                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		die("mmap");
	int ready[2], go[2];
	if (pipe(ready) || pipe(go))
		die("pipe");
	opt.rate /= opt.processes;
	int64_t *start_at = (int64_t *)&all[opt.processes].counts[0];
	pid_t children[MAX_PROCESSES];
	for (int p = 0; p < opt.processes; p++) {
		pid_t pid = children[p] = fork();
		if (pid < 0)
			die("fork");
		if (pid)
			continue;
		int share = opt.clients / opt.processes + (p < opt.clients % opt.processes);
		int idle = opt.idle / opt.processes + (p < opt.idle % opt.processes);
		quota = opt.count / opt.processes + ((uint64_t)p < opt.count % opt.processes);
		serial = (uint64_t)p << 56;
		mine = &all[p];
		int *fds = hold_idle(idle);
		char byte = 0;
		close(go[1]);
		if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 0)
			die("start");
		begin_ns = *start_at;
		window_ns = begin_ns + (int64_t)(opt.warmup_s * 1e9);
		end_ns = opt.count ? INT64_MAX / 2 : window_ns + (int64_t)(opt.duration_s * 1e9);
		run_process(share);
		check_idle(fds, idle);
		_exit(0);
	}
	char byte;
	for (int p = 0; p < opt.processes; p++)
		if (read(ready[0], &byte, 1) != 1)
			die("start");
	begin_ns = now_ns() + 1000000;
	*start_at = begin_ns;
	__sync_synchronize();
	close(go[1]);
	close(go[0]);
	usleep((useconds_t)(opt.warmup_s * 1e6));
	double cpu_before = cpu_of(pids), cpu_after = 0;
	if (!opt.count) {
		for (double left = opt.duration_s; left > 0 && !interrupted; left -= 1)
			usleep((useconds_t)((left < 1 ? left : 1) * 1e6));
		cpu_after = cpu_of(pids);
	}
	int64_t stopped_ns = now_ns();
	for (int p = 0; interrupted && p < opt.processes; p++)
		kill(children[p], SIGINT);
	int status, bad = 0;
	while (wait(&status) > 0)
		bad |= status;
	if (opt.count)
		cpu_after = cpu_of(pids);
	struct totals *sum = &all[opt.processes];
	memset(sum, 0, sizeof *sum);
	for (int p = 0; p < opt.processes; p++)
		add(sum, &all[p]);
	struct rusage used;
	getrusage(RUSAGE_CHILDREN, &used);
	double load_cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec +
	                  (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	double window = opt.count ? (double)(int64_t)(sum->last_ns - begin_ns) / 1e9 : opt.duration_s;
	if (interrupted && !opt.count)
		window = (stopped_ns - begin_ns) / 1e9 - opt.warmup_s;
	print_json(sum, window > 0 ? window : 1e-9, load_cpu, cpu_after - cpu_before);
	return bad ? 5 : 0;
}
