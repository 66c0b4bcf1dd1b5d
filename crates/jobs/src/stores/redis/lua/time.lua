-- Answers the time of the machine that has the lane: {seconds, microseconds}.
return redis.call('TIME')
