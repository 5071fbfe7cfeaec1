/* Everything that a plugin can do wrong. Load-time faults are chosen by macros, others by entry. */

#include <ghnas_plugin.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef ID
#define ID "faulty"
#endif
#ifndef MAJOR
#define MAJOR GHNAS_MAJOR
#endif
#ifndef MINOR
#define MINOR 0
#endif
#ifndef MAGIC
#define MAGIC GHNAS_MAGIC
#endif
#ifndef SPACE_INTERFACE
#define SPACE_INTERFACE GHNAS_SEARCH_SPACE
#endif
#ifndef SPACE_FLAGS
#define SPACE_FLAGS 0
#endif
#ifndef INTERFACE_SIZE
#define INTERFACE_SIZE sizeof(ghnas_interface)
#endif
#ifndef ENTRIES
#define ENTRIES                                                                                    \
    ENTRY("garbage") "," ENTRY("cyclic") "," ENTRY("foreign") "," ENTRY("panic") ","               \
    ENTRY("status") "," ENTRY("shaky") "," ENTRY("nothing") "," ENTRY("refuse") "," ENTRY("fine")
#endif
/* What every architecture is lowered to. */
#ifndef NETWORK
#define NETWORK                                                                                    \
    "{\"input\":[3,8,8],\"classes\":2,\"modules\":[],\"params\":[],\"steps\":[],\"outputs\":[]}"
#endif
#define ENTRY(id) "{\"id\":\"" id "\",\"summary\":\"a fault\"}"
#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

/* How many bytes were handed over, and how many of them released. */
static _Atomic size_t given, released;

static void release(ghnas_owned_bytes *bytes) {
    free(bytes->data);
    memset(bytes, 0, sizeof *bytes);
    released++;
}

static ghnas_status answer(ghnas_owned_bytes *response, ghnas_status status, const char *text) {
    response->len = response->capacity = strlen(text);
    response->data = malloc(response->len + 1);
    memcpy(response->data, text, response->len);
    response->release = release;
    given++;
    return status;
}

typedef struct {
    char entry[32];
    _Atomic int panicked;
} instance_t;

static int is(ghnas_bytes bytes, const char *text) {
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static ghnas_status create(const ghnas_host *host, ghnas_bytes request, void **instance,
                           ghnas_owned_bytes *error) {
    (void)host;
    char text[1024] = {0};
    memcpy(text, request.data, request.len < sizeof text ? request.len : sizeof text - 1);
    const char *entry = strstr(text, "\"entry\":\"");
    entry = entry ? entry + 9 : "";
    if (strncmp(entry, "refuse", 6) == 0) {
        return answer(error, GHNAS_ERROR, "not today");
    }
    if (strncmp(entry, "nothing", 7) == 0) {
        return GHNAS_OK;
    }
    instance_t *made = calloc(1, sizeof *made);
    for (size_t i = 0; i + 1 < sizeof made->entry && entry[i] != '"' && entry[i]; i++) {
        made->entry[i] = entry[i];
    }
    *instance = made;
    return GHNAS_OK;
}

static void destroy(void *instance) { free(instance); }

#define ARCH(space, nodes)                                                                         \
    "{\"schema\":1,\"space\":\"" space "\",\"motifs\":[{\"name\":\"m\",\"nodes\":[" nodes "]}]}"

/* The last digit of a request: that of the seed of a sample. */
static int last_digit(ghnas_bytes request) {
    for (size_t i = request.len; i > 0; i--) {
        if (request.data[i - 1] >= '0' && request.data[i - 1] <= '9') {
            return request.data[i - 1] - '0';
        }
    }
    return 0;
}

/* One seed in ten each: a panic, garbage, a cyclic graph. The host must not come back after the
   panic; where calls overlap, one may be on its way. */
static ghnas_status shaky(instance_t *own, int seed, ghnas_owned_bytes *response) {
    if (own->panicked && SPACE_FLAGS != GHNAS_SHAREABLE) {
        abort();
    }
    switch (seed) {
    case 0:
        own->panicked = 1;
        return answer(response, GHNAS_PANIC, "out of cheese");
    case 1:
        return answer(response, GHNAS_OK, "{\"schema\":1,");
    case 2:
        return answer(response, GHNAS_OK,
                      ARCH("shaky", "{\"op\":\"a\",\"inputs\":[1]},{\"op\":\"a\",\"inputs\":[0]}"));
    case 3:
        return answer(response, GHNAS_OK, ARCH("shaky", "{\"op\":\"b\"}"));
    default:
        return answer(response, GHNAS_OK, ARCH("shaky", "{\"op\":\"a\"}"));
    }
}

static ghnas_status space_call(void *instance, ghnas_bytes method, ghnas_bytes request,
                               ghnas_owned_bytes *response) {
    instance_t *own = instance;
    const char *entry = own->entry;
    if (is(method, "validate")) {
        return answer(response, GHNAS_OK, "null");
    }
    if (is(method, "parse") && strcmp(entry, "fine") == 0) {
        /* In place of a notation: how many answers were given and released before this one. */
        return answer(response, GHNAS_ERROR, given == released ? "even" : "odd");
    }
    if (is(method, "lower")) {
        return answer(response, GHNAS_OK, NETWORK);
    }
    if (!is(method, "sample")) {
        return GHNAS_UNKNOWN_METHOD;
    }
    if (strcmp(entry, "garbage") == 0) {
        return answer(response, GHNAS_OK, "{\"schema\":1,");
    }
    if (strcmp(entry, "cyclic") == 0) {
        return answer(response, GHNAS_OK,
                      ARCH("cyclic", "{\"op\":\"a\",\"inputs\":[1]},{\"op\":\"a\",\"inputs\":[0]}"));
    }
    if (strcmp(entry, "foreign") == 0) {
        return answer(response, GHNAS_OK, ARCH("elsewhere", "{\"op\":\"a\"}"));
    }
    if (strcmp(entry, "panic") == 0) {
        return answer(response, GHNAS_PANIC, "out of cheese");
    }
    if (strcmp(entry, "abort") == 0) {
        abort();
    }
    if (strcmp(entry, "loop") == 0) {
        for (volatile int i = 0;; i++) {
        }
    }
    if (strcmp(entry, "shaky") == 0) {
        return shaky(own, last_digit(request), response);
    }
    if (strcmp(entry, "status") == 0) {
        return 77;
    }
    return answer(response, GHNAS_OK, ARCH("fine", "{\"op\":\"a\"}"));
}

#ifndef ONLY_SPACES
static ghnas_status generator_call(void *instance, ghnas_bytes method, ghnas_bytes request,
                                   ghnas_owned_bytes *response) {
    (void)instance;
    (void)request;
    if (is(method, "plan")) {
        return answer(response, GHNAS_OK, "1");
    }
    if (is(method, "drop_plan") || is(method, "discard")) {
        return answer(response, GHNAS_OK, "null");
    }
    return GHNAS_UNKNOWN_METHOD;
}

static ghnas_status generate(void *instance, uint64_t plan, uint64_t *ticket, float *weights,
                             size_t len, ghnas_owned_bytes *error) {
    (void)plan;
    const char *entry = ((instance_t *)instance)->entry;
    if (strcmp(entry, "panicking") == 0) {
        return answer(error, GHNAS_PANIC, "out of weights");
    }
    if (ticket != NULL) {
        *ticket = 5; /* always: the host must notice the second time */
    }
    for (size_t i = 0; i < len; i++) {
        /* The first parameter has 4 values, then comes a gap of 12. */
        if (i % 16 < 4) {
            weights[i] = 0.5f;
        }
    }
    if (strcmp(entry, "nan") == 0) {
        weights[2] = NAN;
    } else if (strcmp(entry, "short") == 0) {
        memcpy(weights + 3, weights + 4, sizeof(float));
    } else if (strcmp(entry, "past") == 0) {
        weights[len] = 1.0f;
    } else if (strcmp(entry, "before") == 0) {
        weights[-3] = 1.0f;
    } else if (strcmp(entry, "gap") == 0) {
        weights[5] = 0.0f;
    }
    return GHNAS_OK;
}

static ghnas_status vjp(void *instance, uint64_t ticket, const float *gradients, size_t len,
                        ghnas_owned_bytes *error) {
    (void)instance;
    (void)ticket;
    (void)gradients;
    (void)len;
    return answer(error, GHNAS_MALFORMED, "what is a gradient?");
}

static ghnas_status list_call(void *instance, ghnas_bytes method, ghnas_bytes request,
                              ghnas_owned_bytes *response) {
    (void)request;
    if (strcmp(((instance_t *)instance)->entry, "panicking") == 0) {
        return answer(response, GHNAS_PANIC, "out of ideas");
    }
    if (is(method, "suggest")) {
        return answer(response, GHNAS_OK,
                      "[{\"command\":\"sample\",\"seed\":1},{\"command\":\"sample\",\"seed\":2}]");
    }
    if (is(method, "schedule")) {
        return answer(response, GHNAS_OK, "{\"steps\":[{\"updates\":[9],\"messages\":[]}]}");
    }
    if (is(method, "expand")) {
        return answer(response, GHNAS_OK,
                      "{\"inputs\":[[4,8,8]],\"params\":[],\"steps\":[{\"primitive\":\"relu\","
                      "\"inputs\":[3]}],\"output\":1}");
    }
    return GHNAS_UNKNOWN_METHOD;
}
#endif

#ifdef LOADS_FOR_EVER
__attribute__((constructor)) static void load(void) {
    for (volatile int i = 0;; i++) {
    }
}
#endif

static const ghnas_interface spaces = {
    .size = INTERFACE_SIZE,
    .flags = SPACE_FLAGS,
    .id = TEXT(SPACE_INTERFACE),
    .entries = TEXT("[" ENTRIES "]"),
    .create = create,
    .destroy = destroy,
    .call = space_call,
};

#ifndef ONLY_SPACES
#define LIST(name, interface_id, list)                                                             \
    static const ghnas_interface name = {                                                          \
        .size = sizeof(ghnas_interface),                                                           \
        .flags = GHNAS_THREAD_BOUND,                                                               \
        .id = TEXT(interface_id),                                                                  \
        .entries = TEXT("[" list "]"),                                                             \
        .create = create,                                                                          \
        .destroy = destroy,                                                                        \
        .call = list_call,                                                                         \
    }
LIST(searchers, GHNAS_SEARCHER, ENTRY("many") "," ENTRY("panicking"));
LIST(propagators, GHNAS_PROPAGATOR, ENTRY("lost"));
LIST(operations, GHNAS_OPERATION, ENTRY("later"));

/* Three architectures that are all the same, of the entry "fine" alone. */
static ghnas_status enumerate_call(void *instance, ghnas_bytes method, ghnas_bytes request,
                                   ghnas_owned_bytes *response) {
    (void)request;
    if (is(method, "size")) {
        const int fine = strcmp(((instance_t *)instance)->entry, "fine") == 0;
        return answer(response, GHNAS_OK, fine ? "3" : "null");
    }
    return answer(response, GHNAS_OK, ARCH("fine", "{\"op\":\"a\"}"));
}

static const ghnas_interface listings = {
    .size = sizeof(ghnas_interface),
    .id = TEXT(GHNAS_ENUMERATE),
    .call = enumerate_call,
};

static const ghnas_interface generators = {
    .size = sizeof(ghnas_interface),
    .id = TEXT(GHNAS_WEIGHT_GENERATOR),
    .entries = TEXT("[" ENTRY("nan") "," ENTRY("short") "," ENTRY("past") "," ENTRY(
        "before") "," ENTRY("gap") "," ENTRY("good") "," ENTRY("panicking") "]"),
    .create = create,
    .destroy = destroy,
    .call = generator_call,
    .generate = generate,
    .vjp = vjp,
};

static const ghnas_interface *const interfaces[] = {&spaces, &generators, &searchers, &propagators,
                                                    &operations, &listings};
#else
static const ghnas_interface *const interfaces[] = {&spaces};
#endif

static const ghnas_plugin plugin = {sizeof plugin, 0, interfaces,
                                    sizeof interfaces / sizeof *interfaces};

#ifndef NO_HEADER
const ghnas_header ghnas_plugin_header_v1 = {
    .magic = MAGIC,
    .major = MAJOR,
    .minor = MINOR,
    .size = sizeof(ghnas_header),
    .id = TEXT(ID),
    .version = TEXT("0.0.1"),
    .compiler = TEXT("cc"),
};
#endif

#ifndef NO_ENTRY
ghnas_status ghnas_plugin_entry_v1(const ghnas_host *host, const ghnas_plugin **out,
                                   ghnas_owned_bytes *error) {
    (void)host;
#ifdef ENTRY_FAILS
    (void)out;
    return answer(error, GHNAS_ERROR, "no licence");
#else
    (void)error;
    *out = &plugin;
    return GHNAS_OK;
#endif
}
#endif
