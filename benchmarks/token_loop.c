/* Signatures a second of a PKCS#11 module by itself: threads that do nothing but C_Sign.
 *
 *     token_loop MODULE PIN THREADS SECONDS
 *
 * RSA keys sign with CKM_SHA256_RSA_PKCS; the first private key found is used, in the first slot with
 * a token. PKCS #11 v2.40; only what is called here is declared.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long num;
typedef struct { num type; void *value; num size; } attribute;
typedef struct { num type; void *parameter; num size; } mechanism;
typedef struct { void *mutex_calls[4]; num flags; void *reserved; } initialize_args;
enum { OS_LOCKING_OK = 2, SERIAL_SESSION = 4, USER = 1, CLASS = 0, PRIVATE_KEY = 3, SHA256_RSA = 0x40 };

static num (*initialize)(void *), (*slots)(unsigned char, num *, num *);
static num (*open_session)(num, num, void *, void *, num *), (*login)(num, num, char *, num);
static num (*find_begin)(num, attribute *, num), (*find)(num, num *, num, num *), (*find_end)(num);
static num (*sign_begin)(num, mechanism *, num), (*sign)(num, void *, num, void *, num *);
static volatile int is_over;
static num slot;

static void check(num answer, const char *what)
{
	if (answer) {
		fprintf(stderr, "token_loop: %s: 0x%lx\n", what, answer);
		exit(5);
	}
}

static num new_session(void)
{
	num session;
	check(open_session(slot, SERIAL_SESSION, NULL, NULL, &session), "C_OpenSession");
	return session;
}

static void *loop(void *counted)
{
	num session = new_session(), key, found, class = PRIVATE_KEY;
	attribute wanted = {CLASS, &class, sizeof class};
	check(find_begin(session, &wanted, 1), "C_FindObjectsInit");
	check(find(session, &key, 1, &found), "C_FindObjects");
	check(find_end(session), "C_FindObjectsFinal");
	check(!found, "no private key");
	mechanism how = {SHA256_RSA, NULL, 0};
	unsigned char data[64] = "x", signature[1024];
	uint64_t count = 0;
	while (!is_over) {
		num size = sizeof signature;
		check(sign_begin(session, &how, key), "C_SignInit");
		check(sign(session, data, sizeof data, signature, &size), "C_Sign");
		count++;
	}
	*(uint64_t *)counted = count;
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	void *module = dlopen(argv[1], RTLD_NOW);
	if (!module) {
		fprintf(stderr, "token_loop: %s\n", dlerror());
		return 5;
	}
	initialize = dlsym(module, "C_Initialize");
	slots = dlsym(module, "C_GetSlotList");
	open_session = dlsym(module, "C_OpenSession");
	login = dlsym(module, "C_Login");
	find_begin = dlsym(module, "C_FindObjectsInit");
	find = dlsym(module, "C_FindObjects");
	find_end = dlsym(module, "C_FindObjectsFinal");
	sign_begin = dlsym(module, "C_SignInit");
	sign = dlsym(module, "C_Sign");
	initialize_args args = {.flags = OS_LOCKING_OK};
	check(initialize(&args), "C_Initialize");
	num list[16], count = 16;
	check(slots(1, list, &count), "C_GetSlotList");
	slot = list[0];
	check(login(new_session(), USER, argv[2], strlen(argv[2])), "C_Login");
	int threads = atoi(argv[3]);
	pthread_t ids[256];
	uint64_t counted[256] = {0}, sum = 0;
	if (threads < 1 || threads > 256)
		return 2;
	struct timespec begun, ended;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, loop, &counted[i]);
	usleep((useconds_t)(atof(argv[4]) * 1e6));
	is_over = 1;
	for (int i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		sum += counted[i];
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("%f\n", sum / (ended.tv_sec - begun.tv_sec + (ended.tv_nsec - begun.tv_nsec) / 1e9));
	return 0;
}
