/* Energy, power and utilisation of a board. */
#include "replay.h"

/* The row that holds now; a GPU without one has no such sensor. */
#define READING(device)                                                          \
    struct read_row row;                                                         \
    if (!trace_reading((device)->gpu, &at, &row)) return NVML_ERROR_NOT_SUPPORTED

nvmlReturn_t DECLDIR nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy) {
    ENTER_BOARD(device);
    READING(device);
    REQUIRE(energy);
    *energy = row.energy_mj;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power) {
    ENTER_BOARD(device);
    READING(device);
    REQUIRE(power);
    *power = (unsigned int)row.power_mw;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization) {
    ENTER_BOARD(device);
    if (replay_mig(device->gpu, &at)) return NVML_ERROR_NOT_SUPPORTED;
    READING(device);
    REQUIRE(utilization);
    utilization->gpu = (unsigned int)row.gpu_pct;
    utilization->memory = (unsigned int)row.mem_pct;
    return NVML_SUCCESS;
}

/* No trace has video engines. They are here because nvitop complains where a driver lacks the calls. */
nvmlReturn_t DECLDIR nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *utilization,
                                                     unsigned int *samplingPeriodUs) {
    ENTER_BOARD(device);
    REQUIRE(utilization && samplingPeriodUs);
    return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t DECLDIR nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *utilization,
                                                     unsigned int *samplingPeriodUs) {
    ENTER_BOARD(device);
    REQUIRE(utilization && samplingPeriodUs);
    return NVML_ERROR_NOT_SUPPORTED;
}

static void fill_field(nvmlFieldValue_t *field, const struct read_row *row) {
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

/* Succeeds as a whole; each field carries a code of its own. */
nvmlReturn_t DECLDIR nvmlDeviceGetFieldValues(nvmlDevice_t device, int valuesCount, nvmlFieldValue_t *values) {
    ENTER_BOARD(device);
    REQUIRE(values);
    struct read_row row;
    bool sensed = trace_reading(device->gpu, &at, &row);
    for (int i = 0; i < valuesCount; i++) {
        values[i].timestamp = (long long)replay_stamp_us(at.ms);
        values[i].latencyUsec = 0;
        values[i].nvmlReturn = replay_injected_part(device->gpu, at.ms, __func__, values[i].fieldId);
        if (values[i].nvmlReturn != NVML_SUCCESS) continue;
        if (sensed)
            fill_field(&values[i], &row);
        else
            values[i].nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
    }
    return NVML_SUCCESS;
}
