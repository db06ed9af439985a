/* A PKCS#11 module that passes everything on to another one, and does what a file orders on the way.
 *
 * PKCS11_SHIM_REAL names the other module, PKCS11_SHIM_ORDERS a file with one order: "sleep N" seconds
 * over each signature, "crash" over the next one (the order is then withdrawn), "hang" when it is
 * loaded, "flags N" to be added to the token's. Each login is noted as a line in PKCS11_SHIM_LOGINS,
 * with "refused" after it where the PIN was wrong, and so is, as "list", each search for public keys,
 * of which a listing makes one.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef struct { unsigned char major, minor; void *calls[68]; } list_t;
typedef struct { ulong_t type; void *value; ulong_t size; } attribute_t;
enum { PIN_INCORRECT = 0xA0 };
enum { INITIALIZE = 0, FUNCTION_LIST = 3, TOKEN_INFO = 6, LOGIN = 18, FIND = 26, SIGN = 43 };
enum { FLAGS_AT = 96, CLASS = 0, PUBLIC_KEY = 2 };

static list_t ours, *real;

static int order(const char *word, int *number)
{
    char text[64] = "";
    const char *path = getenv("PKCS11_SHIM_ORDERS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return 0;
    if (!fgets(text, sizeof text, file))
        text[0] = 0;
    fclose(file);
    if (strncmp(text, word, strlen(word)))
        return 0;
    *number = atoi(text + strlen(word));
    return 1;
}

static ulong_t shim_initialize(void *arguments)
{
    int number;
    while (order("hang", &number))
        sleep(1);
    return ((ulong_t (*)(void *))real->calls[INITIALIZE])(arguments);
}

static void note(const char *word, ulong_t number)
{
    const char *path = getenv("PKCS11_SHIM_LOGINS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, word, number);
        fclose(file);
    }
}

static ulong_t shim_token_info(ulong_t slot, unsigned char *info)
{
    int number = 0;
    ulong_t result =
        ((ulong_t (*)(ulong_t, unsigned char *))real->calls[TOKEN_INFO])(slot, info);
    if (!result && order("flags ", &number))
        *(ulong_t *)(info + FLAGS_AT) |= (ulong_t)number;
    return result;
}

static ulong_t shim_find(ulong_t session, attribute_t *wanted, ulong_t count)
{
    if (count && wanted->type == CLASS && *(ulong_t *)wanted->value == PUBLIC_KEY)
        note("list\n", 0);
    return ((ulong_t (*)(ulong_t, attribute_t *, ulong_t))real->calls[FIND])(session, wanted, count);
}

static ulong_t shim_login(ulong_t session, ulong_t user, unsigned char *pin, ulong_t length)
{
    ulong_t result;
    note("%lu\n", user);
    result = ((ulong_t (*)(ulong_t, ulong_t, unsigned char *, ulong_t))real->calls[LOGIN])(
        session, user, pin, length);
    if (result == PIN_INCORRECT)
        note("refused\n", 0);
    return result;
}

static ulong_t shim_sign(ulong_t session, unsigned char *data, ulong_t size, unsigned char *out,
                         ulong_t *out_size)
{
    int number = 0, passed;
    for (passed = 0; order("sleep ", &number) && passed < number; passed++)
        sleep(1);
    if (order("crash", &number)) {
        unlink(getenv("PKCS11_SHIM_ORDERS"));
        abort();
    }
    return ((ulong_t (*)(ulong_t, unsigned char *, ulong_t, unsigned char *, ulong_t *))
                real->calls[SIGN])(session, data, size, out, out_size);
}

static ulong_t get_list(list_t **list)
{
    if (!real) {
        void *module = dlopen(getenv("PKCS11_SHIM_REAL"), RTLD_NOW | RTLD_LOCAL);
        ulong_t (*get)(list_t **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
        if (!get || get(&real))
            return 5; /* CKR_GENERAL_ERROR */
        ours = *real;
        ours.calls[INITIALIZE] = shim_initialize;
        ours.calls[FUNCTION_LIST] = get_list;
        ours.calls[TOKEN_INFO] = shim_token_info;
        ours.calls[LOGIN] = shim_login;
        ours.calls[FIND] = shim_find;
        ours.calls[SIGN] = shim_sign;
    }
    *list = &ours;
    return 0;
}

ulong_t C_GetFunctionList(list_t **list) { return get_list(list); }
