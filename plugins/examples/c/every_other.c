/* A searcher in C: samples with every other seed. Written for the first version of the ABI: its
 * tables end before the fields that it does not need, and the host takes those for zeros. */

#include <ghnas_plugin.h>

#include <stdlib.h>
#include <string.h>

#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

typedef struct {
    uint64_t next;
} searcher;

static void release(ghnas_owned_bytes *bytes) {
    free(bytes->data);
    memset(bytes, 0, sizeof *bytes);
}

static ghnas_status answer(ghnas_owned_bytes *response, ghnas_status status, const void *data,
                           size_t len) {
    response->data = malloc(len + 1);
    if (response->data == NULL) {
        return GHNAS_PANIC;
    }
    memcpy(response->data, data, len);
    response->len = response->capacity = len;
    response->release = release;
    return status;
}

static int is(ghnas_bytes bytes, const char *text) {
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

/* The number behind "key": in a flat JSON object. */
static unsigned long number(ghnas_bytes json, const char *key) {
    char text[256] = {0};
    memcpy(text, json.data, json.len < sizeof text ? json.len : sizeof text - 1);
    const char *at = strstr(text, key);
    at = at ? strchr(at, ':') : NULL;
    return at ? strtoul(at + 1, NULL, 10) : 0;
}

static ghnas_status create(const ghnas_host *host, ghnas_bytes request, void **instance,
                           ghnas_owned_bytes *error) {
    (void)host;
    (void)request;
    searcher *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return answer(error, GHNAS_ERROR, "out of memory", 13);
    }
    *instance = made;
    return GHNAS_OK;
}

static void destroy(void *instance) { free(instance); }

static ghnas_status suggest(searcher *it, unsigned long n, ghnas_owned_bytes *response) {
    static const char command[] = "{\"command\":\"sample\",\"seed\":";
    char *text = malloc(n * (sizeof command + 24) + 3);
    if (text == NULL) {
        return answer(response, GHNAS_ERROR, "out of memory", 13);
    }
    size_t len = 0;
    text[len++] = '[';
    for (unsigned long i = 0; i < n; i++, it->next += 2) {
        char digits[24];
        size_t count = 0;
        for (uint64_t rest = it->next; count == 0 || rest > 0; rest /= 10) {
            digits[count++] = (char)('0' + rest % 10);
        }
        if (i > 0) {
            text[len++] = ',';
        }
        memcpy(text + len, command, sizeof command - 1);
        len += sizeof command - 1;
        while (count > 0) {
            text[len++] = digits[--count];
        }
        text[len++] = '}';
    }
    text[len++] = ']';
    ghnas_status status = answer(response, GHNAS_OK, text, len);
    free(text);
    return status;
}

static ghnas_status call(void *instance, ghnas_bytes method, ghnas_bytes request,
                         ghnas_owned_bytes *response) {
    searcher *it = instance;
    if (is(method, "suggest")) {
        return suggest(it, number(request, "\"n\""), response);
    }
    if (is(method, "report")) {
        return answer(response, GHNAS_OK, "null", 4);
    }
    if (is(method, "save")) {
        return answer(response, GHNAS_OK, &it->next, sizeof it->next);
    }
    if (is(method, "load")) {
        if (request.len != sizeof it->next) {
            return answer(response, GHNAS_ERROR, "state of another length", 23);
        }
        memcpy(&it->next, request.data, sizeof it->next);
        return GHNAS_OK;
    }
    return GHNAS_UNKNOWN_METHOD;
}

static const ghnas_interface interface = {
    .size = offsetof(ghnas_interface, generate),
    .id = TEXT(GHNAS_SEARCHER),
    .entries = TEXT("[{\"id\":\"every-other\",\"summary\":\"every other seed, in C\","
                    "\"presets\":[{\"name\":\"default\",\"settings\":{}}]}]"),
    .create = create,
    .destroy = destroy,
    .call = call,
};

static const ghnas_interface *const interfaces[] = {&interface};

static const ghnas_plugin plugin = {sizeof plugin, 0, interfaces, 1};

const ghnas_header ghnas_plugin_header_v1 = {
    .magic = GHNAS_MAGIC,
    .major = GHNAS_MAJOR,
    .minor = 0,
    .size = offsetof(ghnas_header, compiler),
    .id = TEXT("every-other"),
    .version = TEXT("1.0.0"),
};

ghnas_status ghnas_plugin_entry_v1(const ghnas_host *host, const ghnas_plugin **out,
                                   ghnas_owned_bytes *error) {
    (void)host;
    (void)error;
    *out = &plugin;
    return GHNAS_OK;
}
