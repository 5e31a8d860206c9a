-- uses: prelude
-- LimitStore.give_back: free the concurrent units of a holder.
--
-- ARGV     instant, holder, then keys of limits
-- returns  nothing of interest
for i = 3, #ARGV do redis.pcall('ZREM', P .. 'lc:' .. ARGV[i], ARGV[2]) end
return 0
