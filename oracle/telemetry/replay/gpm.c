/* GPM: activity of a board or a MIG instance between two samples. */
#include "replay.h"

#include <stdlib.h>

struct nvmlGpmSample_st {
    const struct trace_gpu *gpu; /* NULL until a sample is in it */
    u64 instance, ms;
};

static bool measured(const struct trace_gpu *gpu, u64 instance) {
    for (size_t i = 0; i < gpu->activity_count; i++)
        if (gpu->activities[i].instance == instance) return true;
    return false;
}

nvmlReturn_t DECLDIR nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *gpmSupport) {
    ENTER_DEVICE(device);
    REQUIRE(gpmSupport);
    if (gpmSupport->version != NVML_GPM_SUPPORT_VERSION) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    gpmSupport->isSupportedDevice = device->gpu->activity_count > 0;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlGpmSampleAlloc(nvmlGpmSample_t *gpmSample) {
    ENTER_SYSTEM();
    REQUIRE(gpmSample);
    *gpmSample = calloc(1, sizeof **gpmSample);
    return *gpmSample ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

/* Needs no initialisation: whoever holds a sample can always give it back. */
nvmlReturn_t DECLDIR nvmlGpmSampleFree(nvmlGpmSample_t gpmSample) {
    REQUIRE(gpmSample);
    free(gpmSample);
    return NVML_SUCCESS;
}

static nvmlReturn_t sample(const struct trace_gpu *gpu, u64 instance, u64 ms, nvmlGpmSample_t out) {
    REQUIRE(out);
    if (!measured(gpu, instance)) return NVML_ERROR_NOT_SUPPORTED;
    out->gpu = gpu;
    out->instance = instance;
    out->ms = ms;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t gpmSample) {
    ENTER_DEVICE(device);
    return sample(device->gpu, replay_instance(device), at.ms, gpmSample);
}

nvmlReturn_t DECLDIR nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned int gpuInstanceId, nvmlGpmSample_t gpmSample) {
    ENTER_BOARD(device);
    if (!replay_mig(device->gpu, &at)) return NVML_ERROR_NOT_SUPPORTED;
    return sample(device->gpu, gpuInstanceId, at.ms, gpmSample);
}

static const unsigned int metrics[TRACE_ACTIVITIES] = {NVML_GPM_METRIC_SM_UTIL, NVML_GPM_METRIC_ANY_TENSOR_UTIL,
                                                       NVML_GPM_METRIC_DRAM_BW_UTIL};

static void fill(nvmlGpmMetric_t *metric, const double *values) {
    metric->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
    for (int i = 0; i < TRACE_ACTIVITIES; i++) {
        if (metric->metricId != metrics[i]) continue;
        metric->nvmlReturn = NVML_SUCCESS;
        metric->value = values[i];
    }
}

/* Succeeds as a whole; each metric carries a code of its own. */
nvmlReturn_t DECLDIR nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *metricsGet) {
    ENTER_SYSTEM();
    REQUIRE(metricsGet);
    if (metricsGet->version != NVML_GPM_METRICS_GET_VERSION) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    const struct nvmlGpmSample_st *first = metricsGet->sample1, *second = metricsGet->sample2;
    double values[TRACE_ACTIVITIES];
    if (!first || !second || !first->gpu || first->gpu != second->gpu || first->instance != second->instance)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (second->ms <= first->ms || metricsGet->numMetrics > NVML_GPM_METRIC_MAX) return NVML_ERROR_INVALID_ARGUMENT;
    if (!trace_activity(&replay_trace, first->gpu, first->instance, first->ms, second->ms, values))
        return NVML_ERROR_NOT_SUPPORTED;
    for (unsigned int i = 0; i < metricsGet->numMetrics; i++) {
        nvmlGpmMetric_t *metric = &metricsGet->metrics[i];
        nvmlReturn_t code = replay_injected_part(first->gpu, at.ms, __func__, metric->metricId);
        if (code == NVML_SUCCESS)
            fill(metric, values);
        else
            metric->nvmlReturn = code;
    }
    return NVML_SUCCESS;
}
