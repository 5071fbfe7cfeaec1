/* The C ABI between ghnas and its plugins, for plugins in C and other languages.
 * The same layouts as src/lib.rs of ghnas-plugin-abi, which explains every field; docs/abi.md says
 * what each call means. */

#ifndef GHNAS_PLUGIN_H
#define GHNAS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define GHNAS_MAGIC "ghnas\0pl"
#define GHNAS_MAJOR 1
#define GHNAS_MINOR 2
#define GHNAS_PARAMETER_ALIGNMENT 64

#define GHNAS_SEARCH_SPACE "ghnas.search-space/1"
#define GHNAS_EVOLVE "ghnas.search-space.evolve/1"
#define GHNAS_ENUMERATE "ghnas.search-space.enumerate/1"
#define GHNAS_SEARCHER "ghnas.searcher/1"
#define GHNAS_PROPAGATOR "ghnas.propagator/1"
#define GHNAS_WEIGHT_GENERATOR "ghnas.weight-generator/1"
#define GHNAS_OPERATION "ghnas.operation/1"

enum {
    GHNAS_OK = 0,
    GHNAS_ERROR = 1,
    GHNAS_UNKNOWN_METHOD = 2,
    GHNAS_MALFORMED = 3,
    GHNAS_PANIC = 4
};

enum { GHNAS_SHAREABLE = 1, GHNAS_THREAD_BOUND = 2 };

typedef uint32_t ghnas_status;

typedef struct {
    const uint8_t *data;
    size_t len;
} ghnas_bytes;

typedef struct ghnas_owned_bytes {
    uint8_t *data;
    size_t len;
    size_t capacity;
    void (*release)(struct ghnas_owned_bytes *bytes);
} ghnas_owned_bytes;

typedef struct {
    uint8_t magic[8];
    uint16_t major;
    uint16_t minor;
    uint32_t size;
    uint64_t flags;
    ghnas_bytes id;
    ghnas_bytes version;
    ghnas_bytes compiler;
} ghnas_header;

typedef struct {
    uint32_t size;
    uint16_t major;
    uint16_t minor;
    uint64_t threads;
    void *context;
    ghnas_status (*call)(void *context, ghnas_bytes method, ghnas_bytes request,
                         ghnas_owned_bytes *response);
} ghnas_host;

typedef struct {
    uint32_t size;
    uint32_t flags;
    ghnas_bytes id;
    ghnas_bytes entries;
    ghnas_status (*create)(const ghnas_host *host, ghnas_bytes request, void **instance,
                           ghnas_owned_bytes *error);
    void (*destroy)(void *instance);
    ghnas_status (*call)(void *instance, ghnas_bytes method, ghnas_bytes request,
                         ghnas_owned_bytes *response);
    ghnas_status (*generate)(void *instance, uint64_t plan, uint64_t *ticket, float *weights,
                             size_t len, ghnas_owned_bytes *error);
    ghnas_status (*vjp)(void *instance, uint64_t ticket, const float *gradients, size_t len,
                        ghnas_owned_bytes *error);
} ghnas_interface;

typedef struct {
    uint32_t size;
    uint32_t reserved;
    const ghnas_interface *const *interfaces;
    size_t interface_count;
} ghnas_plugin;

/* What a plugin exports. */
extern const ghnas_header ghnas_plugin_header_v1;
ghnas_status ghnas_plugin_entry_v1(const ghnas_host *host, const ghnas_plugin **plugin,
                                   ghnas_owned_bytes *error);

#endif
