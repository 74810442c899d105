-- Optional: jobs whose user names no experiment go to one that is called like their account.
-- JobSubmitPlugins=lua; this file lies beside slurm.conf on the controller's host. It sees sbatch's environment only.

function slurm_job_submit(job, partitions, uid)
    local account = job.account or job.default_account
    if job.script ~= nil and account ~= nil and job.environment["TRACKER_EXPERIMENT"] == nil then
        job.environment["TRACKER_EXPERIMENT"] = account
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
