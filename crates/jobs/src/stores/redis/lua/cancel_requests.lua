-- Answers the running jobs that were cancelled.
return call('SMEMBERS', K .. ':off')
