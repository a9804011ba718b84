/* Trace files: text, first line "scrip-nvml-trace 1", then one record a line; '#' starts a comment line.
 *
 * Times are ms since nvmlInit and ascend per GPU and record kind; what a record says holds until the next.
 *   gpu  <index> <uuid> <memory bytes> <serial or -> <name ...>      first, in order of index
 *   loop <ms>                                    start over every <ms>; each GPU needs a `read` at 0 and at <ms>
 *   read <ms> <gpu> <energy mJ> <power mW> <gpu %> <memory %>        less energy than before: the counter was reset
 *   proc <ms> <gpu> <pid> <bytes> <sm %> <memory %>                  a process is there; also a utilisation sample
 *   exit <ms> <gpu> <pid>
 *   mig  <ms> <gpu> <0|1>
 *   fail <ms> <gpu or *> <symbol> <code>         from <ms> on (never looped) the symbol returns code; 0 clears it
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
    u64 v[6];
    if (!numbers(text, v, 6) || v[1] >= trace->gpu_count) return false;
    struct trace_gpu *gpu = &trace->gpus[v[1]];
    struct read_row row = {v[0], v[2], v[3], v[4], v[5]};
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
    u64 v[6];
    if (!numbers(text, v, 6)) return false;
    struct proc_row row = {v[0], v[2], v[3], v[4], v[5], false};
    return add_proc(trace, v[1], row);
}

static bool parse_exit(struct trace *trace, const char *text) {
    u64 v[3];
    if (!numbers(text, v, 3)) return false;
    struct proc_row row = {v[0], v[2], 0, 0, 0, true};
    return add_proc(trace, v[1], row);
}

static bool parse_mig(struct trace *trace, const char *text) {
    u64 v[3];
    if (!numbers(text, v, 3) || v[1] >= trace->gpu_count || v[2] > 1) return false;
    struct trace_gpu *gpu = &trace->gpus[v[1]];
    struct mig_row row = {v[0], v[2] == 1};
    if (gpu->mig_count && gpu->migs[gpu->mig_count - 1].ms >= row.ms) return false;
    return APPEND(gpu->migs, gpu->mig_count, row);
}

static bool parse_fail(struct trace *trace, const char *text) {
    struct fail_row row;
    char which[8];
    u64 index = 0;
    memset(&row, 0, sizeof row);
    if (sscanf(text, "%llu %7s %63s %d", &row.ms, which, row.symbol, &row.code) != 4) return false;
    row.gpu = TRACE_EVERY_GPU;
    if (strcmp(which, "*") != 0) {
        if (!numbers(which, &index, 1) || index >= trace->gpu_count) return false;
        row.gpu = (int)index;
    }
    return APPEND(trace->fails, trace->fail_count, row);
}

static const struct {
    const char *word;
    bool (*parse)(struct trace *trace, const char *text);
} kinds[] = {
    {"gpu", parse_gpu},   {"loop", parse_loop}, {"read", parse_read}, {"proc", parse_proc},
    {"exit", parse_exit}, {"mig", parse_mig},   {"fail", parse_fail},
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
        free(trace->gpus[i].migs);
    }
    free(trace->fails);
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

unsigned int trace_running(const struct trace_gpu *gpu, const struct moment *at, const struct proc_row **out) {
    unsigned int count = 0;
    for (size_t i = 0; i < gpu->proc_count && gpu->procs[i].ms <= at->phase; i++) {
        const struct proc_row *row = &gpu->procs[i];
        unsigned int slot = 0;
        while (slot < count && out[slot]->pid != row->pid) slot++;
        if (row->gone) {
            if (slot < count) out[slot] = out[--count];
        } else if (slot < TRACE_MAX_PROCESSES) {
            out[slot] = row;
            if (slot == count) count++;
        }
    }
    return count;
}

bool trace_mig(const struct trace_gpu *gpu, const struct moment *at, bool *known) {
    bool on = false;
    *known = false;
    for (size_t i = 0; i < gpu->mig_count && gpu->migs[i].ms <= at->phase; i++) {
        on = gpu->migs[i].on;
        *known = true;
    }
    return on;
}

int trace_injected(const struct trace *trace, int gpu, u64 ms, const char *symbol) {
    int code = 0;
    for (size_t i = 0; i < trace->fail_count; i++) {
        const struct fail_row *row = &trace->fails[i];
        bool applies = row->ms <= ms && (row->gpu == gpu || row->gpu == TRACE_EVERY_GPU);
        if (applies && strcmp(row->symbol, symbol) == 0) code = row->code;
    }
    return code;
}
