-- Scrip's submit filter for Slurm: in the guarded partitions a job is accepted only if the provider's node admits it.
--
-- Copy it with scrip_admission.sh and scrip_admission.conf beside slurm.conf, and set JobSubmitPlugins=lua there.
-- slurmctld waits while it runs, so the question has seconds, and no answer is a refusal. Other partitions never get
-- as far as the question. Everything a user wrote is checked before it becomes part of a command line.

local HERE = debug.getinfo(1, "S").source:match("^@(.*/)") or "/etc/slurm/"
local ASK = HERE .. "scrip_admission.sh"
local PLAIN = "^[%w:._,=/-]*$"

local function guarded_partitions()
    local found = {}
    for line in io.lines(HERE .. "scrip_admission.conf") do
        for name in (line:match("^partitions=(.*)$") or ""):gmatch("[^,%s]+") do
            found[name] = true
        end
    end
    return found
end

local GUARDED = guarded_partitions()

local function default_partition(part_list)
    for name, partition in pairs(part_list) do
        if partition.flag_default == 1 then return name end
    end
    return ""
end

local function is_guarded(names)
    for name in (names or ""):gmatch("[^,]+") do
        if GUARDED[name] then return true end
    end
    return false
end

local function refuse(reason)
    slurm.log_user("scrip: %s", reason)
    slurm.log_info("scrip: refused: %s", reason)
    return slurm.ESLURM_ACCESS_DENIED or slurm.ERROR
end

local function is_set(value)
    return value ~= nil and value ~= slurm.NO_VAL and value ~= slurm.NO_VAL16
end

local function number(value)
    return string.format("%.0f", is_set(value) and value or slurm.NO_VAL)
end

-- What is asked, as JSON; nil and the option's name if a text can't be passed on.
local function question(job)
    local texts = {
        comment = job.comment, array = job.array_inx, per_node = job.tres_per_node, per_job = job.tres_per_job,
        per_task = job.tres_per_task, per_socket = job.tres_per_socket,
    }
    local parts = {
        '"uid":' .. number(job.user_id), '"minutes":' .. number(job.time_limit), '"nodes":' .. number(job.max_nodes),
        '"tasks":' .. number(job.num_tasks), '"shared":' .. number(job.shared),
    }
    for _, name in ipairs({ "comment", "array", "per_node", "per_job", "per_task", "per_socket" }) do
        local text = texts[name] or ""
        if not text:match(PLAIN) or #text > 1024 then return nil, name end
        parts[#parts + 1] = '"' .. name .. '":"' .. text .. '"'
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

function slurm_job_submit(job, part_list, submit_uid)
    if not is_guarded(job.partition or default_partition(part_list)) then return slurm.SUCCESS end
    if not is_set(job.max_nodes) then job.min_nodes, job.max_nodes = 1, 1 end
    if not is_set(job.num_tasks) then job.num_tasks = 1 end
    job.requeue = 0 -- a second run would use twice what was paid for
    local asked, wrong = question(job)
    if asked == nil then return refuse(wrong .. " holds characters that aren't allowed here") end
    local pipe = io.popen("'" .. ASK .. "' submit '" .. asked .. "' 2>/dev/null")
    local said = pipe and pipe:read("*a") or ""
    if pipe then pipe:close() end
    if said == "admitted" then return slurm.SUCCESS end
    if said == "" then
        said = "temporarily unable to admit: the provider's node doesn't answer, so nothing runs here. Try again later"
    end
    return refuse(said)
end

-- What was admitted stays as it was; nothing is moved in from elsewhere. An administrator may do both.
function slurm_job_modify(job, record, part_list, modify_uid)
    if modify_uid == 0 or not (is_guarded(record.partition) or is_guarded(job.partition)) then
        return slurm.SUCCESS
    end
    for _, name in ipairs({
        "comment", "partition", "time_limit", "min_nodes", "max_nodes", "num_tasks", "requeue", "shared", "array_inx",
        "tres_per_node", "tres_per_job", "tres_per_task", "tres_per_socket",
    }) do
        if is_set(job[name]) then return refuse(name .. " of a paid job can't be changed. Submit another") end
    end
    return slurm.SUCCESS
end

return slurm.SUCCESS
