-- Answers the running jobs that are called off.
return call('SMEMBERS', K .. ':off')
