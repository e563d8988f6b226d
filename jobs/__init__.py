"""RQ jobs, timed by rq-scheduler: each is stateless and overlap-safe, a nudge that does whatever there is to do."""
