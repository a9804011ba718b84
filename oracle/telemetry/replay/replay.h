/* What the parts of the replay library share: the handles, the time, and how every call begins. */
#ifndef SCRIP_REPLAY_H
#define SCRIP_REPLAY_H

#include "nvml_abi.h"
#include "trace.h"

#include <string.h>

#pragma GCC visibility push(hidden)

/* A board, or one MIG device of it (slice not NULL). */
struct nvmlDevice_st {
    const struct trace_gpu *gpu;
    const struct trace_slice *slice;
};

extern struct trace replay_trace;

/* The handles of the initialisation in force; those of an earlier one are refused, as a driver may refuse them. */
nvmlDevice_t replay_board(unsigned int index);
nvmlDevice_t replay_slice(unsigned int index, unsigned int slice);

/* Trace ms as the microseconds NVML stamps samples with: unix time, or the virtual clock's own. */
u64 replay_stamp_us(u64 ms);

/* Every call starts here: initialised, a handle of ours, the clock readable, no error injected, the GPU not lost. */
nvmlReturn_t replay_enter_system(const char *symbol, struct moment *at);
nvmlReturn_t replay_enter(nvmlDevice_t device, const char *symbol, struct moment *at);

/* The error injected for one field or metric of a call: "symbol:id". */
nvmlReturn_t replay_injected_part(const struct trace_gpu *gpu, u64 ms, const char *symbol, unsigned int id);

nvmlReturn_t replay_put(char *out, unsigned int length, const char *text);

static inline bool replay_mig(const struct trace_gpu *gpu, const struct moment *at) {
    bool stated;
    return trace_switch(&gpu->mig, at, &stated);
}

/* The instance a handle stands for, TRACE_BOARD for a board. */
static inline u64 replay_instance(nvmlDevice_t device) {
    return device->slice ? device->slice->instance : TRACE_BOARD;
}

#pragma GCC visibility pop

#define ENTER(how)                                                               \
    struct moment at;                                                            \
    nvmlReturn_t entered = how;                                                  \
    if (entered != NVML_SUCCESS) return entered
#define ENTER_SYSTEM() ENTER(replay_enter_system(__func__, &at))
#define ENTER_DEVICE(device) ENTER(replay_enter(device, __func__, &at))

/* What NVML answers for boards only. */
#define ENTER_BOARD(device)                                                      \
    ENTER_DEVICE(device);                                                        \
    if ((device)->slice) return NVML_ERROR_NOT_SUPPORTED

#define REQUIRE(pointer)                                                         \
    if (!(pointer)) return NVML_ERROR_INVALID_ARGUMENT

#endif
