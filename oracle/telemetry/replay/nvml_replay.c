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
#include "nvml_abi.h"
#include "trace.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERSION "0.0-scrip-replay"
#define NO_INSTANCE 0xffffffffu /* NVML's value for "not a MIG instance" */

struct nvmlDevice_st { const struct trace_gpu *gpu; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int users; /* nvmlInit calls not yet matched by an nvmlShutdown; the trace is fixed while > 0 */
static struct trace trace;
static struct nvmlDevice_st handles[TRACE_MAX_GPUS];
static char trace_path[4096], clock_path[4096];
static u64 started_mono_ms, started_wall_us;

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

/* Trace ms as the microseconds NVML stamps samples with: unix time, or the virtual clock's own. */
static u64 stamp_us(u64 ms) { return (virtual_clock() ? 0 : started_wall_us) + ms * 1000; }

/* ENTRY ------------------------------------------------------------------------------------------------------------ */

/* Every call starts here: initialised, the clock readable, no error injected for the symbol. */
static nvmlReturn_t enter(int gpu, const char *symbol, struct moment *at) {
    u64 ms = 0;
    if (!now_ms(&ms)) return NVML_ERROR_UNKNOWN;
    *at = trace_moment(&trace, ms);
    return (nvmlReturn_t)trace_injected(&trace, gpu, ms, symbol);
}

static bool ready(void) {
    pthread_mutex_lock(&lock);
    bool any = users > 0;
    pthread_mutex_unlock(&lock);
    return any;
}

static nvmlReturn_t enter_system(const char *symbol, struct moment *at) {
    return ready() ? enter(TRACE_EVERY_GPU, symbol, at) : NVML_ERROR_UNINITIALIZED;
}

static nvmlReturn_t enter_gpu(nvmlDevice_t device, const char *symbol, struct moment *at) {
    if (!ready()) return NVML_ERROR_UNINITIALIZED;
    if (!device || device < handles || device >= handles + trace.gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    return enter((int)device->gpu->index, symbol, at);
}

#define ENTER(how)                                                               \
    struct moment at;                                                            \
    nvmlReturn_t entered = how;                                                  \
    if (entered != NVML_SUCCESS) return entered
#define ENTER_SYSTEM() ENTER(enter_system(__func__, &at))
#define ENTER_GPU(device) ENTER(enter_gpu(device, __func__, &at))

/* The row that holds now; a GPU without one has no such sensor. */
#define READING(device)                                                          \
    struct read_row row;                                                         \
    if (!trace_reading((device)->gpu, &at, &row)) return NVML_ERROR_NOT_SUPPORTED

#define REQUIRE(pointer)                                                         \
    if (!(pointer)) return NVML_ERROR_INVALID_ARGUMENT

static nvmlReturn_t put(char *out, unsigned int length, const char *text) {
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
        result = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* SYSTEM ----------------------------------------------------------------------------------------------------------- */

static nvmlReturn_t load(void) {
    enum trace_result result = trace_load(&trace, configured(trace_path, "SCRIP_NVML_TRACE"));
    if (result == TRACE_UNREADABLE) return NVML_ERROR_DRIVER_NOT_LOADED;
    if (result == TRACE_INVALID) return NVML_ERROR_UNKNOWN;
    for (unsigned int i = 0; i < trace.gpu_count; i++) handles[i].gpu = &trace.gpus[i];
    started_mono_ms = clock_us(CLOCK_MONOTONIC) / 1000;
    started_wall_us = clock_us(CLOCK_REALTIME);
    return (nvmlReturn_t)trace_injected(&trace, TRACE_EVERY_GPU, 0, "nvmlInitWithFlags");
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
    return put(version, length, VERSION);
}

nvmlReturn_t DECLDIR nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    ENTER_SYSTEM();
    return put(version, length, VERSION);
}

/* IDENTITY --------------------------------------------------------------------------------------------------------- */

nvmlReturn_t DECLDIR nvmlDeviceGetCount_v2(unsigned int *deviceCount) {
    ENTER_SYSTEM();
    REQUIRE(deviceCount);
    *deviceCount = trace.gpu_count;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    if (!device || index >= trace.gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    *device = &handles[index];
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    REQUIRE(uuid && device);
    for (unsigned int i = 0; i < trace.gpu_count; i++) {
        if (strcmp(trace.gpus[i].uuid, uuid) != 0) continue;
        *device = &handles[i];
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t DECLDIR nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    ENTER_GPU(device);
    REQUIRE(index);
    *index = device->gpu->index;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    ENTER_GPU(device);
    return put(uuid, length, device->gpu->uuid);
}

nvmlReturn_t DECLDIR nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    ENTER_GPU(device);
    return put(name, length, device->gpu->name);
}

nvmlReturn_t DECLDIR nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned int length) {
    ENTER_GPU(device);
    return strcmp(device->gpu->serial, "-") == 0 ? NVML_ERROR_NOT_SUPPORTED : put(serial, length, device->gpu->serial);
}

nvmlReturn_t DECLDIR nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *arch) {
    ENTER_GPU(device);
    REQUIRE(arch);
    *arch = NVML_DEVICE_ARCH_UNKNOWN; /* there is no chip */
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *currentMode, unsigned int *pendingMode) {
    ENTER_GPU(device);
    REQUIRE(currentMode && pendingMode);
    bool stated;
    bool on = trace_mig(device->gpu, &at, &stated);
    *currentMode = *pendingMode = on;
    return stated ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

/* READINGS --------------------------------------------------------------------------------------------------------- */

nvmlReturn_t DECLDIR nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy) {
    ENTER_GPU(device);
    READING(device);
    REQUIRE(energy);
    *energy = row.energy_mj;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power) {
    ENTER_GPU(device);
    READING(device);
    REQUIRE(power);
    *power = (unsigned int)row.power_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    ENTER_GPU(device);
    READING(device);
    REQUIRE(utilization);
    utilization->gpu = (unsigned int)row.gpu_pct;
    utilization->memory = (unsigned int)row.mem_pct;
    return NVML_SUCCESS;
}

static void fill_field(nvmlFieldValue_t *field, const struct read_row *row) {
    field->nvmlReturn = NVML_SUCCESS;
    switch (field->fieldId) {
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
    case NVML_FI_DEV_ENERGY:
        field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
        field->value.ullVal = row->energy_mj;
        break;
    case NVML_FI_DEV_POWER_AVERAGE:
    case NVML_FI_DEV_POWER_INSTANT:
        field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        field->value.uiVal = (unsigned int)row->power_mw;
        break;
    default: field->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
    }
}

nvmlReturn_t DECLDIR nvmlDeviceGetFieldValues(nvmlDevice_t device, int valuesCount, nvmlFieldValue_t *values) {
    ENTER_GPU(device);
    READING(device);
    REQUIRE(values);
    for (int i = 0; i < valuesCount; i++) {
        values[i].timestamp = (long long)stamp_us(at.ms);
        values[i].latencyUsec = 0;
        fill_field(&values[i], &row);
    }
    return NVML_SUCCESS;
}

/* PROCESSES -------------------------------------------------------------------------------------------------------- */

nvmlReturn_t DECLDIR nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    const struct proc_row *rows[TRACE_MAX_PROCESSES];
    ENTER_GPU(device);
    REQUIRE(memory);
    unsigned int count = trace_running(device->gpu, &at, rows);
    memory->total = device->gpu->memory;
    memory->used = 0;
    for (unsigned int i = 0; i < count; i++) memory->used += rows[i]->bytes;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *infoCount,
                                                             nvmlProcessInfo_t *infos) {
    const struct proc_row *rows[TRACE_MAX_PROCESSES];
    ENTER_GPU(device);
    REQUIRE(infoCount);
    unsigned int room = *infoCount;
    *infoCount = trace_running(device->gpu, &at, rows);
    if (*infoCount == 0) return NVML_SUCCESS;
    if (!infos || room < *infoCount) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned int i = 0; i < *infoCount; i++) {
        infos[i].pid = (unsigned int)rows[i]->pid;
        infos[i].usedGpuMemory = rows[i]->bytes;
        infos[i].gpuInstanceId = infos[i].computeInstanceId = NO_INSTANCE;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *infoCount,
                                                              nvmlProcessInfo_t *infos) {
    ENTER_GPU(device);
    REQUIRE(infoCount);
    (void)infos;
    *infoCount = 0;
    return NVML_SUCCESS;
}

static nvmlProcessUtilizationSample_t utilization_sample(const struct proc_row *row, u64 ms) {
    nvmlProcessUtilizationSample_t sample;
    memset(&sample, 0, sizeof sample);
    sample.pid = (unsigned int)row->pid;
    sample.timeStamp = stamp_us(ms);
    sample.smUtil = (unsigned int)row->sm_pct;
    sample.memUtil = (unsigned int)row->mem_pct;
    return sample;
}

/* Each `proc` row newer than lastSeen is a sample; like a driver's ring buffer, it reaches back one loop at most. */
nvmlReturn_t DECLDIR nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *utilization,
                                                     unsigned int *processSamplesCount,
                                                     unsigned long long lastSeenTimeStamp) {
    ENTER_GPU(device);
    REQUIRE(processSamplesCount);
    unsigned int room = utilization ? *processSamplesCount : 0, count = 0;
    for (u64 cycle = at.cycle ? at.cycle - 1 : 0; cycle <= at.cycle; cycle++) {
        for (size_t i = 0; i < device->gpu->proc_count; i++) {
            const struct proc_row *row = &device->gpu->procs[i];
            u64 ms = cycle * trace.loop_ms + row->ms;
            if (row->gone || ms > at.ms || stamp_us(ms) <= lastSeenTimeStamp) continue;
            if (count < room) utilization[count] = utilization_sample(row, ms);
            count++;
        }
    }
    *processSamplesCount = count;
    if (count == 0) return NVML_ERROR_NOT_FOUND;
    return count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
