/* A libnvidia-ml.so.1 that plays back a trace (trace.c). No GPU, no driver.
 *
 * It has NVML's C ABI, so nvidia-ml-py, Zeus or nvitop read it as they read a driver. It never pretends to be one: the
 * driver version is "0.0-scrip-replay" and scrip_nvml_replay_version() is exported; whoever meters with it must label
 * what they read as simulated.
 *
 * Paths come from scrip_nvml_replay_configure() or, for programs we don't control, from SCRIP_NVML_TRACE and
 * SCRIP_NVML_CLOCK. The clock is a file that holds "now" in ms and is read on each call, so that a test needs no sleep;
 * without one, now is the real time since nvmlInit. Symbols that are not here look to a caller like an old driver's.
 */
#define _POSIX_C_SOURCE 200809L
#include "replay.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define VERSION "0.0-scrip-replay"

struct trace replay_trace;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int users; /* nvmlInit calls not yet matched by an nvmlShutdown; the trace is fixed while > 0 */
static unsigned int generation;
static struct nvmlDevice_st boards[2][TRACE_MAX_GPUS], slices[2][TRACE_MAX_GPUS][TRACE_MAX_SLICES];
static char trace_path[4096], clock_path[4096];
static u64 started_mono_ms, started_wall_us; /* of the first nvmlInit: a later one goes on in the same time */
static u64 initialised_ms;

/* TIME ------------------------------------------------------------------------------------------------------------- */

static u64 clock_us(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (u64)t.tv_sec * 1000000 + (u64)t.tv_nsec / 1000;
}

static const char *configured(const char *path, const char *variable) {
    const char *value = *path ? path : getenv(variable);
    return value && *value ? value : NULL;
}

static bool virtual_clock(void) { return configured(clock_path, "SCRIP_NVML_CLOCK") != NULL; }

static bool now_ms(u64 *ms) {
    const char *path = configured(clock_path, "SCRIP_NVML_CLOCK");
    if (!path) {
        *ms = clock_us(CLOCK_MONOTONIC) / 1000 - started_mono_ms;
        return true;
    }
    FILE *file = fopen(path, "r");
    bool found = file && fscanf(file, "%llu", ms) == 1;
    if (file) fclose(file);
    return found;
}

u64 replay_stamp_us(u64 ms) { return (virtual_clock() ? 0 : started_wall_us) + ms * 1000; }

/* HANDLES ---------------------------------------------------------------------------------------------------------- */

nvmlDevice_t replay_board(unsigned int index) { return &boards[generation % 2][index]; }

nvmlDevice_t replay_slice(unsigned int index, unsigned int slice) { return &slices[generation % 2][index][slice]; }

static void make_handles(void) {
    generation++;
    for (unsigned int i = 0; i < replay_trace.gpu_count; i++) {
        const struct trace_gpu *gpu = &replay_trace.gpus[i];
        replay_board(i)->gpu = gpu;
        for (unsigned int k = 0; k < gpu->slice_count; k++)
            *replay_slice(i, k) = (struct nvmlDevice_st){gpu, &gpu->slices[k]};
    }
}

static bool is_ours(nvmlDevice_t device) {
    for (unsigned int i = 0; i < replay_trace.gpu_count; i++) {
        if (device == replay_board(i)) return true;
        for (unsigned int k = 0; k < replay_trace.gpus[i].slice_count; k++)
            if (device == replay_slice(i, k)) return true;
    }
    return false;
}

/* ENTRY ------------------------------------------------------------------------------------------------------------ */

static nvmlReturn_t enter(int gpu, const char *symbol, struct moment *at) {
    u64 ms = 0;
    if (!now_ms(&ms)) return NVML_ERROR_UNKNOWN;
    *at = trace_moment(&replay_trace, ms);
    int lost = trace_lost(&replay_trace, gpu, ms, initialised_ms);
    return (nvmlReturn_t)(lost ? lost : trace_injected(&replay_trace, gpu, ms, symbol));
}

static bool ready(void) {
    pthread_mutex_lock(&lock);
    bool any = users > 0;
    pthread_mutex_unlock(&lock);
    return any;
}

nvmlReturn_t replay_enter_system(const char *symbol, struct moment *at) {
    return ready() ? enter(TRACE_EVERY_GPU, symbol, at) : NVML_ERROR_UNINITIALIZED;
}

nvmlReturn_t replay_enter(nvmlDevice_t device, const char *symbol, struct moment *at) {
    if (!ready()) return NVML_ERROR_UNINITIALIZED;
    if (!is_ours(device)) return NVML_ERROR_INVALID_ARGUMENT;
    return enter((int)device->gpu->index, symbol, at);
}

nvmlReturn_t replay_injected_part(const struct trace_gpu *gpu, u64 ms, const char *symbol, unsigned int id) {
    char part[96];
    if (replay_trace.fail_count == 0) return NVML_SUCCESS;
    snprintf(part, sizeof part, "%s:%u", symbol, id);
    return (nvmlReturn_t)trace_injected(&replay_trace, (int)gpu->index, ms, part);
}

nvmlReturn_t replay_put(char *out, unsigned int length, const char *text) {
    if (!out) return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(out, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

/* OUR OWN SYMBOLS -------------------------------------------------------------------------------------------------- */

const char *scrip_nvml_replay_version(void);
int scrip_nvml_replay_configure(const char *trace_file, const char *clock_file);

const char *scrip_nvml_replay_version(void) { return VERSION; }

/* Sets the paths ("" leaves one to the environment); refused while anyone has the library initialised. */
int scrip_nvml_replay_configure(const char *trace_file, const char *clock_file) {
    int result = NVML_ERROR_IN_USE;
    if (strlen(trace_file) >= sizeof trace_path || strlen(clock_file) >= sizeof clock_path)
        return NVML_ERROR_INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    if (users == 0) {
        strcpy(trace_path, trace_file);
        strcpy(clock_path, clock_file);
        started_mono_ms = 0;
        result = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* SYSTEM ----------------------------------------------------------------------------------------------------------- */

static nvmlReturn_t load(void) {
    enum trace_result result = trace_load(&replay_trace, configured(trace_path, "SCRIP_NVML_TRACE"));
    if (result == TRACE_UNREADABLE) return NVML_ERROR_DRIVER_NOT_LOADED;
    if (result == TRACE_INVALID) return NVML_ERROR_UNKNOWN;
    if (started_mono_ms == 0) {
        started_mono_ms = clock_us(CLOCK_MONOTONIC) / 1000;
        started_wall_us = clock_us(CLOCK_REALTIME);
    }
    make_handles();
    if (!now_ms(&initialised_ms)) return NVML_ERROR_UNKNOWN;
    return (nvmlReturn_t)trace_injected(&replay_trace, TRACE_EVERY_GPU, initialised_ms, "nvmlInitWithFlags");
}

nvmlReturn_t DECLDIR nvmlInitWithFlags(unsigned int flags) {
    nvmlReturn_t result = NVML_SUCCESS;
    (void)flags;
    pthread_mutex_lock(&lock);
    if (users == 0) result = load();
    if (result == NVML_SUCCESS) users++;
    pthread_mutex_unlock(&lock);
    return result;
}

nvmlReturn_t DECLDIR nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t DECLDIR nvmlShutdown(void) {
    nvmlReturn_t result = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&lock);
    if (users > 0) {
        users--;
        result = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

const DECLDIR char *nvmlErrorString(nvmlReturn_t result) {
    switch ((int)result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_FUNCTION_NOT_FOUND: return "Function Not Found";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

nvmlReturn_t DECLDIR nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    ENTER_SYSTEM();
    return replay_put(version, length, VERSION);
}

nvmlReturn_t DECLDIR nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    ENTER_SYSTEM();
    return replay_put(version, length, VERSION);
}
