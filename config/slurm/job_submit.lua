-- Optional: jobs whose user names no experiment go to one that is called like their account.
-- JobSubmitPlugins=lua; this file lies beside slurm.conf on the controller's host. It sees sbatch's environment only.

function slurm_job_submit(job, partitions, uid)
    if job.environment ~= nil and job.account ~= nil and job.environment["TRACKER_EXPERIMENT"] == nil then
        job.environment["TRACKER_EXPERIMENT"] = job.account
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
