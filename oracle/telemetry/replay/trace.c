/* Trace files: text, first line "scrip-nvml-trace 1", then one record a line; '#' starts a comment line.
 *
 * Times are ms since nvmlInit and ascend per GPU and record kind (activity: per instance); what a record says holds until the next.
 *   gpu  <index> <uuid> <memory bytes> <serial or -> <name ...>      first, in order of index
 *   loop <ms>                                    start over every <ms>; each GPU needs a `read` at 0 and at <ms>
 *   read <ms> <gpu> <energy mJ> <power mW> <gpu %> <memory %> [<bytes in use>]
 *                                                less energy than before: the counter was reset
 *   proc <ms> <gpu> <pid> <bytes> <sm %> <memory %> [<instance>]     a process is there; also a utilisation sample
 *   exit <ms> <gpu> <pid>
 *   gpm  <ms> <gpu> <instance or -> <SM %> <tensor %> <bandwidth %>  activity from here on
 *   mig  <ms> <gpu> <0|1>
 *   acct <ms> <gpu> <0|1>                        accounting mode; a GPU without the row has none
 *   slice <gpu> <instance> <compute instance> <memory bytes> <uuid>  a MIG device, there while MIG is on
 *   fail <ms> <gpu or *> <symbol> <code>         from <ms> on (never looped) the symbol returns code; 0 clears it.
 *                                                <symbol>:<id> is one field or metric of a call that takes several
 *   lost <ms> <gpu or *> <code>                  from <ms> on every call returns code, until NVML is initialised anew
 */
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "scrip-nvml-trace 1"

static bool append(void **rows, size_t *count, const void *row, size_t size) {
    void *bigger = realloc(*rows, (*count + 1) * size);
    if (!bigger) return false;
    memcpy((char *)bigger + *count * size, row, size);
    *rows = bigger;
    ++*count;
    return true;
}
#define APPEND(rows, count, row) append((void **)&(rows), &(count), &(row), sizeof(row))

/* Exactly `wanted` unsigned decimals and nothing else. */
static bool numbers(const char *text, u64 *out, int wanted) {
    for (int i = 0; i < wanted; i++) {
        char *end;
        text += strspn(text, " \t");
        if (*text < '0' || *text > '9') return false;
        errno = 0;
        out[i] = strtoull(text, &end, 10);
        if (errno || (*end && *end != ' ' && *end != '\t')) return false;
        text = end;
    }
    return text[strspn(text, " \t")] == '\0';
}

static bool parse_gpu(struct trace *trace, const char *text) {
    struct trace_gpu gpu;
    int name = 0;
    memset(&gpu, 0, sizeof gpu);
    if (sscanf(text, "%u %95s %llu %31s %n", &gpu.index, gpu.uuid, &gpu.memory, gpu.serial, &name) != 4) return false;
    if (gpu.index != trace->gpu_count || trace->gpu_count == TRACE_MAX_GPUS) return false;
    if (name == 0 || text[name] == '\0' || strlen(text + name) >= sizeof gpu.name) return false;
    memcpy(gpu.name, text + name, strlen(text + name) + 1);
    trace->gpus[trace->gpu_count++] = gpu;
    return true;
}

static bool parse_loop(struct trace *trace, const char *text) {
    return trace->loop_ms == 0 && numbers(text, &trace->loop_ms, 1) && trace->loop_ms > 0;
}

static bool parse_read(struct trace *trace, const char *text) {
    u64 v[7];
    v[6] = TRACE_UNSAID;
    if ((!numbers(text, v, 6) && !numbers(text, v, 7)) || v[1] >= trace->gpu_count) return false;
    struct trace_gpu *gpu = &trace->gpus[v[1]];
    struct read_row row = {v[0], v[2], v[3], v[4], v[5], v[6]};
    if (gpu->read_count && gpu->reads[gpu->read_count - 1].ms >= row.ms) return false;
    return APPEND(gpu->reads, gpu->read_count, row);
}

static bool add_proc(struct trace *trace, u64 index, struct proc_row row) {
    if (index >= trace->gpu_count) return false;
    struct trace_gpu *gpu = &trace->gpus[index];
    if (gpu->proc_count && gpu->procs[gpu->proc_count - 1].ms > row.ms) return false;
    return APPEND(gpu->procs, gpu->proc_count, row);
}

static bool parse_proc(struct trace *trace, const char *text) {
    u64 v[7];
    v[6] = TRACE_BOARD;
    if (!numbers(text, v, 6) && !numbers(text, v, 7)) return false;
    struct proc_row row = {v[0], v[2], v[3], v[4], v[5], v[6], false};
    return add_proc(trace, v[1], row);
}

static bool parse_exit(struct trace *trace, const char *text) {
    u64 v[3];
    if (!numbers(text, v, 3)) return false;
    struct proc_row row = {v[0], v[2], 0, 0, 0, TRACE_BOARD, true};
    return add_proc(trace, v[1], row);
}

static bool parse_gpm(struct trace *trace, const char *text) {
    char board[512];
    u64 v[6];
    int head = 0;
    if (sscanf(text, "%*u %*u %n- ", &head) < 0 || head == 0) return false;
    if (text[head] == '-' && (text[head + 1] == ' ' || text[head + 1] == '\t')) { /* "-": not an instance */
        snprintf(board, sizeof board, "%.*s%llu%s", head, text, TRACE_BOARD, text + head + 1);
        text = board;
    }
    if (!numbers(text, v, 6) || v[1] >= trace->gpu_count) return false;
    struct trace_gpu *gpu = &trace->gpus[v[1]];
    struct activity_row row = {v[0], v[2], {v[3], v[4], v[5]}};
    for (size_t i = gpu->activity_count; i-- > 0;) {
        if (gpu->activities[i].instance != row.instance) continue;
        if (gpu->activities[i].ms >= row.ms) return false;
        break;
    }
    return APPEND(gpu->activities, gpu->activity_count, row);
}

/* <ms> <gpu> <0|1>, after the rows of the same kind. */
static bool read_switch(const struct trace *trace, const char *text, u64 *index, struct switch_row *row) {
    u64 v[3];
    if (!numbers(text, v, 3) || v[1] >= trace->gpu_count || v[2] > 1) return false;
    *index = v[1];
    row->ms = v[0];
    row->on = v[2] == 1;
    return true;
}

static bool add_switch(struct switch_rows *rows, struct switch_row row) {
    if (rows->count && rows->rows[rows->count - 1].ms >= row.ms) return false;
    return APPEND(rows->rows, rows->count, row);
}

static bool parse_mig(struct trace *trace, const char *text) {
    struct switch_row row;
    u64 index;
    return read_switch(trace, text, &index, &row) && add_switch(&trace->gpus[index].mig, row);
}

static bool parse_acct(struct trace *trace, const char *text) {
    struct switch_row row;
    u64 index;
    return read_switch(trace, text, &index, &row) && add_switch(&trace->gpus[index].accounting, row);
}

static bool parse_slice(struct trace *trace, const char *text) {
    struct trace_slice slice;
    u64 index;
    int end = 0;
    memset(&slice, 0, sizeof slice);
    if (sscanf(text, "%llu %llu %llu %llu %95s%n", &index, &slice.instance, &slice.compute, &slice.memory, slice.uuid,
               &end) != 5)
        return false;
    if (text[end] != '\0' || index >= trace->gpu_count || slice.instance >= TRACE_BOARD) return false;
    struct trace_gpu *gpu = &trace->gpus[index];
    if (gpu->slice_count == TRACE_MAX_SLICES) return false;
    gpu->slices[gpu->slice_count++] = slice;
    return true;
}

/* "*" or the index of a GPU. */
static bool read_target(const struct trace *trace, const char *text, int *gpu) {
    u64 index;
    *gpu = TRACE_EVERY_GPU;
    if (strcmp(text, "*") == 0) return true;
    if (!numbers(text, &index, 1) || index >= trace->gpu_count) return false;
    *gpu = (int)index;
    return true;
}

static bool parse_fail(struct trace *trace, const char *text) {
    struct fail_row row;
    char which[8];
    memset(&row, 0, sizeof row);
    if (sscanf(text, "%llu %7s %63s %d", &row.ms, which, row.symbol, &row.code) != 4) return false;
    return read_target(trace, which, &row.gpu) && APPEND(trace->fails, trace->fail_count, row);
}

static bool parse_lost(struct trace *trace, const char *text) {
    struct lost_row row;
    char which[8];
    if (sscanf(text, "%llu %7s %d", &row.ms, which, &row.code) != 3) return false;
    return read_target(trace, which, &row.gpu) && APPEND(trace->losses, trace->loss_count, row);
}

static const struct {
    const char *word;
    bool (*parse)(struct trace *trace, const char *text);
} kinds[] = {
    {"gpu", parse_gpu},   {"loop", parse_loop}, {"read", parse_read}, {"proc", parse_proc},
    {"exit", parse_exit}, {"gpm", parse_gpm},   {"mig", parse_mig},   {"acct", parse_acct},
    {"slice", parse_slice}, {"fail", parse_fail}, {"lost", parse_lost},
};

static bool parse_line(struct trace *trace, const char *line) {
    size_t length = strcspn(line, " \t");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].word) == length && strncmp(kinds[i].word, line, length) == 0)
            return kinds[i].parse(trace, line + length + strspn(line + length, " \t"));
    return false;
}

static bool loops_cleanly(const struct trace *trace) {
    for (unsigned int i = 0; trace->loop_ms && i < trace->gpu_count; i++) {
        const struct trace_gpu *gpu = &trace->gpus[i];
        const struct read_row *last = gpu->reads + gpu->read_count - 1;
        if (gpu->read_count < 2 || gpu->reads[0].ms != 0 || last->ms != trace->loop_ms) return false;
        if (last->energy_mj < gpu->reads[0].energy_mj) return false;
    }
    return true;
}

static void forget(struct trace *trace) {
    for (unsigned int i = 0; i < TRACE_MAX_GPUS; i++) {
        free(trace->gpus[i].reads);
        free(trace->gpus[i].procs);
        free(trace->gpus[i].activities);
        free(trace->gpus[i].mig.rows);
        free(trace->gpus[i].accounting.rows);
    }
    free(trace->fails);
    free(trace->losses);
    memset(trace, 0, sizeof *trace);
}

static bool parse_file(struct trace *trace, FILE *file, const char *path) {
    char line[512];
    unsigned int number = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = '\0';
        number++;
        bool skip = number > 1 && (*line == '\0' || *line == '#');
        if (skip || (number == 1 ? strcmp(line, FORMAT) == 0 : parse_line(trace, line))) continue;
        fprintf(stderr, "nvml replay: %s:%u is no valid record: %s\n", path, number, line);
        return false;
    }
    if (number == 0 || !loops_cleanly(trace)) {
        fprintf(stderr, "nvml replay: %s is empty, or its loop has no read at 0 and at its end\n", path);
        return false;
    }
    return true;
}

enum trace_result trace_load(struct trace *trace, const char *path) {
    FILE *file = path ? fopen(path, "r") : NULL;
    forget(trace);
    if (!file) {
        fprintf(stderr, "nvml replay: no readable trace at %s\n", path ? path : "SCRIP_NVML_TRACE, which is not set");
        return TRACE_UNREADABLE;
    }
    bool good = parse_file(trace, file, path);
    fclose(file);
    if (!good) forget(trace);
    return good ? TRACE_OK : TRACE_INVALID;
}

struct moment trace_moment(const struct trace *trace, u64 ms) {
    struct moment at = {ms, 0, ms};
    if (trace->loop_ms) {
        at.cycle = ms / trace->loop_ms;
        at.phase = ms % trace->loop_ms;
    }
    return at;
}

bool trace_reading(const struct trace_gpu *gpu, const struct moment *at, struct read_row *out) {
    const struct read_row *held = NULL;
    for (size_t i = 0; i < gpu->read_count && gpu->reads[i].ms <= at->phase; i++) held = &gpu->reads[i];
    if (!held) return false;
    *out = *held;
    out->energy_mj += at->cycle * (gpu->reads[gpu->read_count - 1].energy_mj - gpu->reads[0].energy_mj);
    return true;
}

unsigned int trace_running(const struct trace_gpu *gpu, u64 instance, const struct moment *at,
                           const struct proc_row **out) {
    unsigned int count = 0;
    for (size_t i = 0; i < gpu->proc_count && gpu->procs[i].ms <= at->phase; i++) {
        const struct proc_row *row = &gpu->procs[i];
        unsigned int slot = 0;
        while (slot < count && out[slot]->pid != row->pid) slot++;
        if (row->gone) {
            if (slot < count) out[slot] = out[--count];
        } else if (slot < TRACE_MAX_PROCESSES && (instance == TRACE_BOARD || instance == row->instance)) {
            out[slot] = row;
            if (slot == count) count++;
        }
    }
    return count;
}

bool trace_life(const struct trace_gpu *gpu, const struct moment *at, u64 pid, struct life *out) {
    struct life life;
    u64 rows = 0, sm = 0, mem = 0;
    memset(&life, 0, sizeof life);
    for (size_t i = 0; i < gpu->proc_count && gpu->procs[i].ms <= at->phase; i++) {
        const struct proc_row *row = &gpu->procs[i];
        if (row->pid != pid || (row->gone && rows == 0)) continue;
        if (row->gone) {
            life.end_ms = at->ms - at->phase + row->ms;
            continue;
        }
        if (rows == 0 || life.end_ms) { /* the pid's first life, or a later process that was given it again */
            memset(&life, 0, sizeof life);
            rows = sm = mem = 0;
            life.begin_ms = at->ms - at->phase + row->ms;
        }
        rows++;
        sm += row->sm_pct;
        mem += row->mem_pct;
        if (row->bytes > life.most_bytes) life.most_bytes = row->bytes;
    }
    if (rows == 0) return false;
    life.sm_pct = sm / rows;
    life.mem_pct = mem / rows;
    *out = life;
    return true;
}

/* Adds percent times ms from the start of the loop to `phase`; false if there are no rows. */
static bool add_activity(const struct trace_gpu *gpu, u64 instance, u64 phase, double times, double *sums) {
    const struct activity_row *held = NULL;
    bool any = false;
    for (size_t i = 0; i <= gpu->activity_count; i++) {
        const struct activity_row *row = i < gpu->activity_count ? &gpu->activities[i] : NULL;
        if (row && row->instance != instance) continue;
        u64 until = row && row->ms < phase ? row->ms : phase;
        for (int k = 0; held && k < TRACE_ACTIVITIES; k++)
            if (until > held->ms) sums[k] += times * (double)held->pct[k] * (double)(until - held->ms);
        any = any || row;
        held = row;
    }
    return any;
}

bool trace_activity(const struct trace *trace, const struct trace_gpu *gpu, u64 instance, u64 from_ms, u64 to_ms,
                    double out[TRACE_ACTIVITIES]) {
    const u64 times[] = {from_ms, to_ms};
    double sums[2][TRACE_ACTIVITIES] = {{0}};
    for (int i = 0; i < 2; i++) {
        struct moment at = trace_moment(trace, times[i]);
        if (!add_activity(gpu, instance, at.phase, 1, sums[i])) return false;
        add_activity(gpu, instance, trace->loop_ms, (double)at.cycle, sums[i]);
    }
    for (int k = 0; k < TRACE_ACTIVITIES; k++) out[k] = (sums[1][k] - sums[0][k]) / (double)(to_ms - from_ms);
    return true;
}

bool trace_switch(const struct switch_rows *rows, const struct moment *at, bool *stated) {
    bool on = false;
    *stated = false;
    for (size_t i = 0; i < rows->count && rows->rows[i].ms <= at->phase; i++) {
        on = rows->rows[i].on;
        *stated = true;
    }
    return on;
}

static bool concerns(int row_gpu, int gpu) { return row_gpu == gpu || row_gpu == TRACE_EVERY_GPU; }

int trace_injected(const struct trace *trace, int gpu, u64 ms, const char *symbol) {
    int code = 0;
    for (size_t i = 0; i < trace->fail_count; i++) {
        const struct fail_row *row = &trace->fails[i];
        if (row->ms <= ms && concerns(row->gpu, gpu) && strcmp(row->symbol, symbol) == 0) code = row->code;
    }
    return code;
}

int trace_lost(const struct trace *trace, int gpu, u64 ms, u64 initialised_ms) {
    for (size_t i = 0; i < trace->loss_count; i++) {
        const struct lost_row *row = &trace->losses[i];
        if (row->ms <= ms && initialised_ms < row->ms && concerns(row->gpu, gpu)) return row->code;
    }
    return 0;
}
