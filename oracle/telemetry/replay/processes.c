/* Processes on a GPU: which run, what they use now, and what accounting kept of those that ended. */
#include "replay.h"

nvmlReturn_t DECLDIR nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    const struct proc_row *rows[TRACE_MAX_PROCESSES];
    ENTER_DEVICE(device);
    REQUIRE(memory);
    unsigned int count = trace_running(device->gpu, replay_instance(device), &at, rows);
    memory->total = device->slice ? device->slice->memory : device->gpu->memory;
    memory->used = 0;
    for (unsigned int i = 0; i < count; i++) memory->used += rows[i]->bytes;
    struct read_row row;
    if (!device->slice && trace_reading(device->gpu, &at, &row) && row.used != TRACE_UNSAID) memory->used = row.used;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *infoCount,
                                                             nvmlProcessInfo_t *infos) {
    const struct proc_row *rows[TRACE_MAX_PROCESSES];
    ENTER_DEVICE(device);
    REQUIRE(infoCount);
    unsigned int room = *infoCount;
    *infoCount = trace_running(device->gpu, replay_instance(device), &at, rows);
    if (*infoCount == 0) return NVML_SUCCESS;
    if (!infos || room < *infoCount) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned int i = 0; i < *infoCount; i++) {
        infos[i].pid = (unsigned int)rows[i]->pid;
        infos[i].usedGpuMemory = rows[i]->bytes;
        infos[i].gpuInstanceId = (unsigned int)rows[i]->instance;
        infos[i].computeInstanceId = rows[i]->instance == TRACE_BOARD ? (unsigned int)TRACE_BOARD : 0;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *infoCount,
                                                              nvmlProcessInfo_t *infos) {
    ENTER_DEVICE(device);
    REQUIRE(infoCount);
    (void)infos;
    *infoCount = 0;
    return NVML_SUCCESS;
}

static nvmlProcessUtilizationSample_t utilization_sample(const struct proc_row *row, u64 ms) {
    nvmlProcessUtilizationSample_t sample;
    memset(&sample, 0, sizeof sample);
    sample.pid = (unsigned int)row->pid;
    sample.timeStamp = replay_stamp_us(ms);
    sample.smUtil = (unsigned int)row->sm_pct;
    sample.memUtil = (unsigned int)row->mem_pct;
    return sample;
}

/* Each `proc` row newer than lastSeen is a sample; like a driver's ring buffer, it reaches back one loop at most. */
nvmlReturn_t DECLDIR nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *utilization,
                                                     unsigned int *processSamplesCount,
                                                     unsigned long long lastSeenTimeStamp) {
    ENTER_BOARD(device);
    REQUIRE(processSamplesCount);
    if (replay_mig(device->gpu, &at)) return NVML_ERROR_NOT_SUPPORTED;
    unsigned int room = utilization ? *processSamplesCount : 0, count = 0;
    for (u64 cycle = at.cycle ? at.cycle - 1 : 0; cycle <= at.cycle; cycle++) {
        for (size_t i = 0; i < device->gpu->proc_count; i++) {
            const struct proc_row *row = &device->gpu->procs[i];
            u64 ms = cycle * replay_trace.loop_ms + row->ms;
            if (row->gone || ms > at.ms || replay_stamp_us(ms) <= lastSeenTimeStamp) continue;
            if (count < room) utilization[count] = utilization_sample(row, ms);
            count++;
        }
    }
    *processSamplesCount = count;
    if (count == 0) return NVML_ERROR_NOT_FOUND;
    return count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

/* ACCOUNTING ------------------------------------------------------------------------------------------------------- */

static bool accounting(const struct trace_gpu *gpu, const struct moment *at, bool *stated) {
    bool on = trace_switch(&gpu->accounting, at, stated);
    return on && !replay_mig(gpu, at); /* MIG turns it off */
}

nvmlReturn_t DECLDIR nvmlDeviceGetAccountingMode(nvmlDevice_t device, nvmlEnableState_t *mode) {
    ENTER_BOARD(device);
    REQUIRE(mode);
    bool stated;
    *mode = accounting(device->gpu, &at, &stated) ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return stated ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

/* What a driver keeps: the time is 0 until the process has ended. */
nvmlReturn_t DECLDIR nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned int pid,
                                                  nvmlAccountingStats_t *stats) {
    ENTER_BOARD(device);
    REQUIRE(stats);
    bool stated;
    struct life life;
    if (!accounting(device->gpu, &at, &stated)) return NVML_ERROR_NOT_SUPPORTED;
    if (!trace_life(device->gpu, &at, pid, &life)) return NVML_ERROR_NOT_FOUND;
    memset(stats, 0, sizeof *stats);
    stats->gpuUtilization = (unsigned int)life.sm_pct;
    stats->memoryUtilization = (unsigned int)life.mem_pct;
    stats->maxMemoryUsage = life.most_bytes;
    stats->time = life.end_ms ? life.end_ms - life.begin_ms : 0;
    stats->startTime = replay_stamp_us(life.begin_ms);
    stats->isRunning = life.end_ms == 0;
    return NVML_SUCCESS;
}
