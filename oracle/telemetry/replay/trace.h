/* A trace: what a machine's GPUs did, as rows in time. Format in trace.c. Knows nothing of NVML. */
#ifndef SCRIP_TRACE_H
#define SCRIP_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#define TRACE_MAX_GPUS 16
#define TRACE_MAX_PROCESSES 64
#define TRACE_EVERY_GPU (-1)

/* The library's exported symbols are NVML's and nothing else. */
#pragma GCC visibility push(hidden)

typedef unsigned long long u64;

struct read_row { u64 ms, energy_mj, power_mw, gpu_pct, mem_pct; };
struct proc_row { u64 ms, pid, bytes, sm_pct, mem_pct; bool gone; };
struct mig_row { u64 ms; bool on; };
struct fail_row { u64 ms; int gpu, code; char symbol[64]; };

struct trace_gpu {
    unsigned int index;
    char uuid[96], serial[32], name[96]; /* serial "-": the board has none */
    u64 memory;
    struct read_row *reads;
    struct proc_row *procs;
    struct mig_row *migs;
    size_t read_count, proc_count, mig_count;
};

struct trace {
    struct trace_gpu gpus[TRACE_MAX_GPUS];
    unsigned int gpu_count;
    struct fail_row *fails;
    size_t fail_count;
    u64 loop_ms; /* 0: plays once, then holds its last row */
};

/* A time in the trace: ms since the start, and where that falls in the loop. */
struct moment { u64 ms, cycle, phase; };

enum trace_result { TRACE_OK, TRACE_UNREADABLE, TRACE_INVALID };

/* Replace *trace by the file's content; on failure it is empty and the reason is on stderr. */
enum trace_result trace_load(struct trace *trace, const char *path);

struct moment trace_moment(const struct trace *trace, u64 ms);

/* The reading that holds at the moment, the energy of loops already played included; false before the first. */
bool trace_reading(const struct trace_gpu *gpu, const struct moment *at, struct read_row *out);

/* Processes on the GPU at the moment, at most TRACE_MAX_PROCESSES; the count. */
unsigned int trace_running(const struct trace_gpu *gpu, const struct moment *at, const struct proc_row **out);

/* Whether the GPU is split by MIG; false in *known when the trace doesn't say. */
bool trace_mig(const struct trace_gpu *gpu, const struct moment *at, bool *known);

/* The error code injected for a symbol at the moment, 0 for none. */
int trace_injected(const struct trace *trace, int gpu, u64 ms, const char *symbol);

#pragma GCC visibility pop
#endif
