/* A PKCS#11 module that passes everything on to another one, and does what a file orders on the way.
 *
 * PKCS11_SHIM_REAL names the other module, PKCS11_SHIM_ORDERS a file with one order: "sleep N" seconds
 * over each signature, "crash" over the next one (the order is then withdrawn), "hang" when it is
 * loaded. Each login is noted as a line in PKCS11_SHIM_LOGINS.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef struct { unsigned char major, minor; void *calls[68]; } list_t;
enum { INITIALIZE = 0, FUNCTION_LIST = 3, LOGIN = 18, SIGN = 43 };

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

static ulong_t shim_login(ulong_t session, ulong_t user, unsigned char *pin, ulong_t length)
{
    const char *path = getenv("PKCS11_SHIM_LOGINS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%lu\n", user);
        fclose(file);
    }
    return ((ulong_t (*)(ulong_t, ulong_t, unsigned char *, ulong_t))real->calls[LOGIN])(
        session, user, pin, length);
}

static ulong_t shim_sign(ulong_t session, unsigned char *data, ulong_t size, unsigned char *out,
                         ulong_t *out_size)
{
    int number = 0;
    if (order("sleep ", &number))
        sleep(number);
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
        ours.calls[LOGIN] = shim_login;
        ours.calls[SIGN] = shim_sign;
    }
    *list = &ours;
    return 0;
}

ulong_t C_GetFunctionList(list_t **list) { return get_list(list); }
