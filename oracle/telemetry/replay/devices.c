/* Which GPUs and MIG devices there are, and what they are called. */
#include "replay.h"

/* IDENTITY --------------------------------------------------------------------------------------------------------- */

nvmlReturn_t DECLDIR nvmlDeviceGetCount_v2(unsigned int *deviceCount) {
    ENTER_SYSTEM();
    REQUIRE(deviceCount);
    *deviceCount = replay_trace.gpu_count;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    if (!device || index >= replay_trace.gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    *device = replay_board(index);
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    REQUIRE(uuid && device);
    for (unsigned int i = 0; i < replay_trace.gpu_count; i++) {
        const struct trace_gpu *gpu = &replay_trace.gpus[i];
        *device = replay_board(i);
        if (strcmp(gpu->uuid, uuid) == 0) return NVML_SUCCESS;
        for (unsigned int k = 0; replay_mig(gpu, &at) && k < gpu->slice_count; k++) {
            *device = replay_slice(i, k);
            if (strcmp(gpu->slices[k].uuid, uuid) == 0) return NVML_SUCCESS;
        }
    }
    *device = NULL;
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t DECLDIR nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    ENTER_DEVICE(device);
    REQUIRE(index);
    *index = device->gpu->index;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    ENTER_DEVICE(device);
    return replay_put(uuid, length, device->slice ? device->slice->uuid : device->gpu->uuid);
}

nvmlReturn_t DECLDIR nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    ENTER_DEVICE(device);
    return replay_put(name, length, device->gpu->name);
}

nvmlReturn_t DECLDIR nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned int length) {
    ENTER_DEVICE(device);
    return strcmp(device->gpu->serial, "-") == 0 ? NVML_ERROR_NOT_SUPPORTED : replay_put(serial, length, device->gpu->serial);
}

nvmlReturn_t DECLDIR nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *arch) {
    ENTER_DEVICE(device);
    REQUIRE(arch);
    *arch = NVML_DEVICE_ARCH_UNKNOWN; /* there is no chip */
    return NVML_SUCCESS;
}

/* MIG -------------------------------------------------------------------------------------------------------------- */

nvmlReturn_t DECLDIR nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *currentMode, unsigned int *pendingMode) {
    ENTER_BOARD(device);
    REQUIRE(currentMode && pendingMode);
    bool stated;
    bool on = trace_switch(&device->gpu->mig, &at, &stated);
    *currentMode = *pendingMode = on;
    return stated ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t DECLDIR nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) {
    ENTER_BOARD(device);
    REQUIRE(count);
    *count = replay_mig(device->gpu, &at) ? TRACE_MAX_SLICES : 0;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index,
                                                         nvmlDevice_t *migDevice) {
    ENTER_BOARD(device);
    REQUIRE(migDevice);
    if (!replay_mig(device->gpu, &at)) return NVML_ERROR_NOT_SUPPORTED;
    if (index >= device->gpu->slice_count) return NVML_ERROR_NOT_FOUND;
    *migDevice = replay_slice(device->gpu->index, index);
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *isMigDevice) {
    ENTER_DEVICE(device);
    REQUIRE(isMigDevice);
    *isMigDevice = device->slice != NULL;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t migDevice, nvmlDevice_t *device) {
    ENTER_DEVICE(migDevice);
    REQUIRE(device);
    if (!migDevice->slice) return NVML_ERROR_INVALID_ARGUMENT;
    *device = replay_board(migDevice->gpu->index);
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id) {
    ENTER_DEVICE(device);
    REQUIRE(id);
    if (!device->slice) return NVML_ERROR_NOT_SUPPORTED;
    *id = (unsigned int)device->slice->instance;
    return NVML_SUCCESS;
}

nvmlReturn_t DECLDIR nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int *id) {
    ENTER_DEVICE(device);
    REQUIRE(id);
    if (!device->slice) return NVML_ERROR_NOT_SUPPORTED;
    *id = (unsigned int)device->slice->compute;
    return NVML_SUCCESS;
}
