-- uses: prelude state places
-- BrokerAdmin.pause and resume: hold a queue, or let it go on and wake whoever waits.
--
-- ARGV     instant, queue, 1 to hold it
-- returns  nothing of interest
if ARGV[3] == '1' then
    call('SADD', P .. 'paused', ARGV[2])
else
    call('SREM', P .. 'paused', ARGV[2])
    rouse(ARGV[2], now)
end
return 0
