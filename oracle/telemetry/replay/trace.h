/* A trace: what a machine's GPUs did, as rows in time. Format in trace.c. Knows nothing of NVML. */
#ifndef SCRIP_TRACE_H
#define SCRIP_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#define TRACE_MAX_GPUS 16
#define TRACE_MAX_SLICES 8
#define TRACE_MAX_PROCESSES 64
#define TRACE_EVERY_GPU (-1)
#define TRACE_UNSAID (~0ULL)
#define TRACE_BOARD 0xffffffffULL /* the whole board, where a MIG instance could stand; NVML's own value for that */
#define TRACE_ACTIVITIES 3        /* SM, tensor cores, memory bandwidth */

/* The library's exported symbols are NVML's and nothing else. */
#pragma GCC visibility push(hidden)

typedef unsigned long long u64;

struct read_row { u64 ms, energy_mj, power_mw, gpu_pct, mem_pct, used; };
struct proc_row { u64 ms, pid, bytes, sm_pct, mem_pct, instance; bool gone; };
struct activity_row { u64 ms, instance, pct[TRACE_ACTIVITIES]; };
struct switch_row { u64 ms; bool on; };
struct switch_rows { struct switch_row *rows; size_t count; };
struct fail_row { u64 ms; int gpu, code; char symbol[64]; };
struct lost_row { u64 ms; int gpu, code; };

/* A MIG device: a GPU instance with its compute instance. There while MIG is on. */
struct trace_slice { u64 instance, compute, memory; char uuid[96]; };

struct trace_gpu {
    unsigned int index;
    char uuid[96], serial[32], name[96]; /* serial "-": the board has none */
    u64 memory;
    struct read_row *reads;
    struct proc_row *procs;
    struct activity_row *activities;
    size_t read_count, proc_count, activity_count;
    struct switch_rows mig, accounting;
    struct trace_slice slices[TRACE_MAX_SLICES];
    unsigned int slice_count;
};

struct trace {
    struct trace_gpu gpus[TRACE_MAX_GPUS];
    unsigned int gpu_count;
    struct fail_row *fails;
    struct lost_row *losses;
    size_t fail_count, loss_count;
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

/* Processes on the GPU, or on one of its instances, at the moment: at most TRACE_MAX_PROCESSES; the count. */
unsigned int trace_running(const struct trace_gpu *gpu, u64 instance, const struct moment *at,
                           const struct proc_row **out);

/* What a driver's accounting keeps of a process: its latest life in this loop. end_ms is 0 while it runs. */
struct life { u64 begin_ms, end_ms, most_bytes, sm_pct, mem_pct; };

bool trace_life(const struct trace_gpu *gpu, const struct moment *at, u64 pid, struct life *out);

/* Mean activity in percent between two times of the GPU or an instance; false if the trace doesn't say. */
bool trace_activity(const struct trace *trace, const struct trace_gpu *gpu, u64 instance, u64 from_ms, u64 to_ms,
                    double out[TRACE_ACTIVITIES]);

/* Whether something is switched on; false in *stated when the trace doesn't say. */
bool trace_switch(const struct switch_rows *rows, const struct moment *at, bool *stated);

/* The error code injected for a symbol at a time, 0 for none. */
int trace_injected(const struct trace *trace, int gpu, u64 ms, const char *symbol);

/* The error code of a GPU lost by then, 0 if none was, or if NVML was initialised anew since. */
int trace_lost(const struct trace *trace, int gpu, u64 ms, u64 initialised_ms);

#pragma GCC visibility pop
#endif
