-- Optional: sbatch says where the run of the job just submitted will be found.
-- CliFilterPlugins=lua; this file lies beside slurm.conf wherever people submit. It runs as the user.

local url = "https://tracker.example.org"
local cluster = "mycluster"

function slurm_cli_setup_defaults(options, early)
    return slurm.SUCCESS
end

function slurm_cli_pre_submit(options, offset)
    return slurm.SUCCESS
end

function slurm_cli_post_submit(offset, job, step)
    if os.getenv("SLURM_JOB_ID") == nil then -- a step inside a job is no new run
        io.stderr:write(string.format("run: %s/runs/%s:%d\n", url, cluster, job))
    end
    return slurm.SUCCESS
end
