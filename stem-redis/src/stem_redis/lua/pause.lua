-- uses: prelude state places
-- BrokerAdmin.pause and resume: hold a queue, or let it go on and wake whoever waits.
--
-- ARGV     instant, queue, 1 to hold it
-- returns  nothing of interest
if ARGV[3] == '1' then
    call('SADD', P .. 'paused', ARGV[2])
else
    rouse(ARGV[2], now)
    call('SREM', P .. 'paused', ARGV[2])
end
return 0
